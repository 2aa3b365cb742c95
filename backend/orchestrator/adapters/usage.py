"""What people have used and may use: the Usage port on the store's database. Counting itself is `counting.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, text

from orchestrator.adapters import counting
from orchestrator.adapters.databases import Database
from orchestrator.ports import Spent
from orchestrator.usage import Line, LiveTurn, Now, QuotaSet, Scope, Used, What, day_of

_OF_DAY = "COALESCE((SELECT {column} FROM usage WHERE day = :day AND user_id = :user), 0)"
_COUNTS = ", ".join(_OF_DAY.format(column=column) for column in ("messages", "model_tokens", "cpu_ms"))
_GROUP = "COALESCE((SELECT group_name FROM users WHERE id = :user), '')"
NOW = text(f"SELECT {_GROUP}, {_COUNTS}, 0")
NOW_WITH_DISK = text(
    f"SELECT {_GROUP}, {_COUNTS}, COALESCE((SELECT sum(disk) FROM conversations WHERE user_id = :user), 0)"  # noqa: S608
)
LINES = text("SELECT day, user_id, messages, model_tokens, cpu_ms FROM usage WHERE day >= :since ORDER BY day, user_id")
DISKS = text("SELECT user_id, sum(disk) FROM conversations GROUP BY user_id HAVING sum(disk) > 0")
QUOTAS = text("SELECT scope, name, what, most FROM quotas ORDER BY scope, name, what")
CLEAR_QUOTA = text("DELETE FROM quotas WHERE scope = :scope AND name = :name")
ADD_QUOTA = text("INSERT INTO quotas (scope, name, what, most) VALUES (:scope, :name, :what, :most)")
_OPEN = "FROM turns t JOIN conversations c ON c.id = t.conversation_id WHERE t.closed_at IS NULL"
LIVE_TURNS = text(f"SELECT t.conversation_id, t.id, c.user_id, t.opened_at {_OPEN} ORDER BY t.opened_at, t.id")
OPEN_IN = text(f"SELECT c.id {_OPEN} AND c.user_id = :user")
OWNERS = text("SELECT id, user_id FROM conversations WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
AT_ONCE = 500  # ids in one question


class SqlUsage:
    """The Usage port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self, user: str, at: float, *, disk: bool) -> Now:
        statement = NOW_WITH_DISK if disk else NOW
        ((group, messages, tokens, cpu_ms, size),) = await self._database.find(statement, {"user": user, "day": day_of(at)})
        return Now(str(group), Used(int(messages), int(tokens), int(cpu_ms), int(size)))

    async def charge(self, costs: Mapping[str, Spent]) -> None:
        for conversation, spent in costs.items():  # one transaction each: none holds two conversations' rows
            if changes := counting.cost(conversation, spent):
                await self._database.change(changes, needed=0)

    async def lines(self, since_day: int) -> list[Line]:
        rows = await self._database.read(lambda connection: connection.execute(LINES, {"since": since_day}).all())
        return [Line(day, user, Used(messages, tokens, cpu_ms)) for day, user, messages, tokens, cpu_ms in rows]

    async def disks(self) -> dict[str, int]:
        rows = await self._database.read(lambda connection: connection.execute(DISKS).all())
        return {user: int(size) for user, size in rows}

    async def quotas(self) -> list[QuotaSet]:
        rows = await self._database.read(lambda connection: connection.execute(QUOTAS).all())
        sets: defaultdict[tuple[Scope, str], dict[What, int | None]] = defaultdict(dict)
        known = {what.value for what in What}
        for scope, name, what, most in rows:
            if what in known:  # one of a later version is not enforced here
                sets[scope, name][What(what)] = most
        return [QuotaSet(scope, name, limits) for (scope, name), limits in sets.items()]

    async def set_quota(self, quota: QuotaSet) -> None:
        key = {"scope": quota.scope, "name": quota.name}
        rows = [{**key, "what": what.value, "most": most} for what, most in quota.limits.items()]

        def work(connection: Connection) -> None:
            connection.execute(CLEAR_QUOTA, key)
            if rows:
                connection.execute(ADD_QUOTA, rows)

        await self._database.write(work)

    async def live_turns(self) -> list[LiveTurn]:
        rows = await self._database.read(lambda connection: connection.execute(LIVE_TURNS).all())
        return [LiveTurn(*row) for row in rows]

    async def owners(self, conversations: Sequence[str]) -> dict[str, str]:
        def work(connection: Connection) -> dict[str, str]:
            found: dict[str, str] = {}
            for start in range(0, len(conversations), AT_ONCE):
                rows = connection.execute(OWNERS, {"ids": list(conversations[start : start + AT_ONCE])})
                found.update({id: user for id, user in rows})
            return found

        return await self._database.read(work)

    async def open_in(self, user: str) -> set[str]:
        rows = await self._database.read(lambda connection: connection.execute(OPEN_IN, {"user": user}).all())
        return {str(id) for (id,) in rows}
