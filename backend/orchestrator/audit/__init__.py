"""Who did what: one line for whatever changes who may do something, or tries to. Never a secret, never what was said."""

from __future__ import annotations

import logging
import time

from orchestrator.accounts import AuditLog

log = logging.getLogger(__name__)

Detail = str | int | float | bool | None


async def audit(to: AuditLog, actor: str, action: str, subject: str = "", **details: Detail) -> None:
    """`actor`: the id of a user, empty for nobody known. `action`: two words with a dot between, as in `token.made`.
    `subject`: whom or what it was done to. Raises `StoreUnavailable`: what cannot be written down is not done quietly."""
    await to.write(time.time(), actor[:64], action, subject[:500], dict(details))
    log.info("audit: %s by %s", action, actor or "nobody")
