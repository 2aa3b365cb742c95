"""What the executor may ask a kernel beside cells: its variables, completions, what a name is.

The answers are given on the control channel, in a thread of its own, so they come while a cell runs too, unless the cell
keeps the interpreter to itself. All that lies here belongs to the process of the tenant, who can change it: the executor
believes none of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import editor
import variables

Content = dict[str, Any]


class Services:
    """Made once, before the first cell, and bound to the namespace that there is then."""

    def __init__(self, shell: Any) -> None:
        self._namespace: variables.Namespace = shell.user_ns
        self._hidden: variables.Namespace = shell.user_ns_hidden
        self._magics: dict[str, dict[str, Any]] = shell.magics_manager.magics

    def variables(self) -> Content:
        return variables.listed(self._namespace, self._hidden)

    def complete(self, code: str, cursor: int) -> Content:
        return editor.complete(code, cursor, self._namespace, self._names_of_magics)

    def inspect(self, code: str, cursor: int, detail: int) -> Content:
        return editor.examine(code, cursor, detail, self._namespace)

    def _names_of_magics(self, prefix: str) -> Iterable[str]:
        kinds = ("cell",) if prefix == "%%" else ("line",)
        return [name for kind in kinds for name, _ in variables.items(self._magics[kind]) if type(name) is str]
