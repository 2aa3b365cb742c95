"""The audit: rows are added and read, never changed."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import text

from orchestrator.accounts import AuditRecord
from orchestrator.adapters.databases import Database

ADD = text("INSERT INTO audit (at, actor, action, subject, details) VALUES (:at, :actor, :action, :subject, :details)")
_LINES = "SELECT id, at, actor, action, subject, details FROM audit"
NEWEST = text(_LINES + " ORDER BY id DESC LIMIT :limit")
BEFORE = text(_LINES + " WHERE id < :before ORDER BY id DESC LIMIT :limit")


class SqlAudit:
    """The AuditLog port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, at: float, actor: str, action: str, subject: str, details: dict[str, Any]) -> None:
        row = {"at": at, "actor": actor, "action": action, "subject": subject, "details": json.dumps(details)}
        await self._database.change([(ADD, row)])

    async def read(self, before: int | None, limit: int) -> list[AuditRecord]:
        statement, values = (NEWEST, {"limit": limit}) if before is None else (BEFORE, {"limit": limit, "before": before})
        rows = await self._database.find(statement, values)
        return [
            AuditRecord(id, at, actor, action, subject, json.loads(details))
            for id, at, actor, action, subject, details in rows
        ]
