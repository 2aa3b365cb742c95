"""The egress proxy as the operator has configured it: which hosts, and which package indexes."""

from __future__ import annotations

import os

from executor.egress.beside import authorities, contents
from executor.egress.door import Egress
from executor.egress.indexes import entries_for, indexes, pip_files, pip_settings
from executor.egress.reach import SystemResolver
from executor.egress.rules import INDEXES, Entry, Rules, entries
from executor.settings import Settings


def make_egress(settings: Settings) -> Egress:
    """The proxy that the operator has configured. Reads pip's configuration, once. Raises ValueError, with words, when an
    entry of the lists cannot be read."""
    pip = pip_settings(os.environ, pip_files(os.environ))
    known = indexes(pip)
    rules = Rules(allowed(settings.egress_allow, entries_for(known.urls)), entries(settings.egress_private))
    return Egress(rules, SystemResolver(), contents(known, authorities(pip, os.environ)), left_out=known.left_out)


def allowed(text: str, of_indexes: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The operator's list; empty: the package indexes, which the word `indexes` stands for. Raises ValueError."""
    words = [word.strip() for word in text.split(",") if word.strip()] or [INDEXES]
    listed = entries(",".join(word for word in words if word != INDEXES))
    return (*of_indexes, *listed) if INDEXES in words else listed
