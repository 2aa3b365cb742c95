"""What is kept of people (`orchestrator.accounts`), on the store's own database."""

from __future__ import annotations

from orchestrator.accounts import Accounts
from orchestrator.adapters.accounts.attempts import SqlAttempts
from orchestrator.adapters.accounts.audit import SqlAudit
from orchestrator.adapters.accounts.flows import SqlFlows
from orchestrator.adapters.accounts.keys import SqlKeys
from orchestrator.adapters.accounts.users import SqlUsers
from orchestrator.adapters.databases import Database


def create(database: Database) -> Accounts:
    """The store has brought the tables up to this version before."""
    return Accounts(SqlUsers(database), SqlKeys(database), SqlAttempts(database), SqlFlows(database), SqlAudit(database))
