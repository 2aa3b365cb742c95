"""Visits to OpenID providers, each taken up once."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, text

from orchestrator.accounts import Flow
from orchestrator.adapters.databases import Database

_COLUMNS = "state, browser, provider, nonce, verifier, return_to, invite, links, expires_at"
BEGIN = text(
    f"INSERT INTO oidc_flows ({_COLUMNS}) VALUES"  # noqa: S608 (names of ours)
    " (:state, :browser, :provider, :nonce, :verifier, :return_to, :invite, :links, :expires_at)"
)
TAKE = text(f"DELETE FROM oidc_flows WHERE state = :state RETURNING {_COLUMNS}")  # noqa: S608


class SqlFlows:
    """The Flows port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, flow: Flow) -> None:
        await self._database.change([(BEGIN, asdict(flow))])

    async def take(self, state: str, now: float) -> Flow | None:
        def work(connection: Connection) -> Flow | None:
            row = connection.execute(TAKE, {"state": state}).one_or_none()
            return Flow(*row) if row is not None else None

        flow = await self._database.write(work)
        return flow if flow is not None and flow.expires_at > now else None
