"""The only file that names concrete classes: settings in, a working set of parts out. Adapters go by URL scheme."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from orchestrator.accounts import Accounts
from orchestrator.agent.profiles import Profile, profile_for
from orchestrator.agent.turn import Limits
from orchestrator.errors import BadSetting
from orchestrator.ports import Bus, Kernel, Model, Store
from orchestrator.runner import World
from orchestrator.settings import Settings
from orchestrator.turns import Agent, Turns
from orchestrator.usage import Usage, What

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

T = TypeVar("T")
_Table = dict[str, Callable[[str, Settings], Awaitable[T]]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running orchestrator is made of."""

    settings: Settings
    store: Store
    bus: Bus
    kernel: Kernel
    model: Model
    profile: Profile
    turns: Turns
    accounts: Accounts
    usage: Usage

    async def close(self) -> None:
        """Turns first, so that they close honestly; then sandboxes, then what they were recorded in."""
        await self.turns.close()
        await self.kernel.close()
        await self.model.close()
        await self.bus.close()
        await self.store.close()


async def build(settings: Settings) -> Parts:
    """Open everything that the settings name. Raises BadSetting, StoreUnavailable or StoreTooNew."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = await _choose(_STORES, "CODEACT_STORE_URL", store_url(settings), settings)
    bus = await _choose(_BUSES, "CODEACT_BUS_URL", settings.bus_url, settings)
    kernel = await _choose(_KERNELS, "CODEACT_KERNEL_URL", settings.kernel_url, settings)
    model = await _choose(_MODELS, "CODEACT_MODEL_URL", settings.model_url, settings)
    if not model.name:
        await model.check()  # asks the server what it serves, so that the profile fits it
    profile = profile_for(
        model.name,
        settings.model_profile,
        settings.model_observation_prefix,
        network=settings.sandbox_profile == "net",
    )
    agent = Agent(profile, _limits(settings), settings.model_context_tokens)
    world = World(model, kernel, time.time, settings.model_temperature)
    shared = urlsplit(store_url(settings)).scheme == "postgresql+asyncpg"
    turns = Turns(store, bus, agent, world, secrets.token_hex(8), shared)
    return Parts(settings, store, bus, kernel, model, profile, turns, _accounts(store), _usage(store))


def collectors(parts: Parts) -> list[Collector]:
    """What else in this process counts, beside the orchestrator: the executor, where it is in here."""
    if urlsplit(parts.settings.kernel_url).scheme != "local":
        return []
    from orchestrator.adapters.kernel_local import LocalKernel

    return [parts.kernel.collector()] if isinstance(parts.kernel, LocalKernel) else []


def store_url(settings: Settings) -> str:
    """The store's URL: SQLite in the data directory unless set."""
    return settings.store_url or f"sqlite+aiosqlite:///{settings.data_dir / 'codeact.sqlite3'}"


def _limits(settings: Settings) -> Limits:
    return Limits(
        executions=settings.turn_max_executions,
        seconds=settings.turn_max_seconds,
        tokens=settings.turn_max_tokens,
        step_tokens=settings.model_max_tokens,
        cell_seconds=settings.cell_timeout_s,
    )


def quota_limits(settings: Settings) -> dict[What, int]:
    """What each user may use for whom nothing else is said."""
    set_to = {
        What.MESSAGES: settings.quota_messages_per_day,
        What.MODEL_TOKENS: settings.quota_model_tokens_per_day,
        What.CPU_SECONDS: settings.quota_cpu_seconds_per_day,
        What.SANDBOXES: settings.quota_sandboxes,
        What.DISK: settings.quota_disk_mb * 2**20,
    }
    return {what: most for what, most in set_to.items() if most}


def counts(settings: Settings) -> bool:
    """Whether what people use is counted: where there are several of them, or limits."""
    return settings.auth == "accounts" or bool(quota_limits(settings))


async def _sql_store(url: str, settings: Settings) -> Store:
    from orchestrator.adapters import store_sql

    store = store_sql.create(url, settings.store_pool, settings.store_overflow, counts=counts(settings))
    await store.migrate()
    return store


def _accounts(store: Store) -> Accounts:
    """In the store's database."""
    from orchestrator.adapters import accounts
    from orchestrator.adapters.store_sql import SqlStore

    assert isinstance(store, SqlStore)
    return accounts.create(store.database)


def _usage(store: Store) -> Usage:
    """In the store's database."""
    from orchestrator.adapters.store_sql import SqlStore
    from orchestrator.adapters.usage import SqlUsage

    assert isinstance(store, SqlStore)
    return SqlUsage(store.database)


async def _memory_bus(_: str, __: Settings) -> Bus:
    from orchestrator.adapters.bus_memory import MemoryBus

    return MemoryBus()


async def _redis_bus(url: str, settings: Settings) -> Bus:
    from orchestrator.adapters import bus_redis

    return await bus_redis.create(url, idle_s=max(bus_redis.IDLE_S, 2 * settings.turn_max_seconds))


async def _local_kernel(_: str, settings: Settings) -> Kernel:
    from orchestrator.adapters import kernel_local

    return await asyncio.to_thread(kernel_local.create, settings.data_dir)


async def _http_kernel(url: str, settings: Settings) -> Kernel:
    from orchestrator.adapters.kernel_http import HttpKernel

    return HttpKernel(url, executor_token(settings), owner=secrets.token_hex(8))


def executor_token(settings: Settings) -> str:
    """Raises BadSetting when the file that should hold it cannot be read."""
    if settings.executor_token_file is None:
        return settings.executor_token.get_secret_value()
    try:
        return settings.executor_token_file.read_text().strip()
    except OSError as error:
        raise BadSetting(f"CODEACT_EXECUTOR_TOKEN_FILE cannot be read: {error}.") from error


async def _openai_model(url: str, settings: Settings) -> Model:
    from orchestrator.adapters.model_openai import OpenAIModel

    return OpenAIModel(
        url,
        settings.model_name,
        settings.model_api_key,
        first_token_timeout_s=settings.model_first_token_timeout_s,
        idle_timeout_s=settings.model_idle_timeout_s,
    )


_STORES: _Table[Store] = {
    "sqlite+aiosqlite": _sql_store,
    "postgresql+asyncpg": _sql_store,
}
_BUSES: _Table[Bus] = {"memory": _memory_bus, "redis": _redis_bus, "rediss": _redis_bus, "unix": _redis_bus}
_KERNELS: _Table[Kernel] = {"local": _local_kernel, "http": _http_kernel, "https": _http_kernel}
_MODELS: _Table[Model] = {"http": _openai_model, "https": _openai_model}


async def _choose(table: _Table[T], name: str, url: str, settings: Settings) -> T:
    scheme = urlsplit(url).scheme
    if scheme not in table:
        known = ", ".join(f"{scheme}://" for scheme in table)
        begins = f"begins with {scheme}:" if scheme else "has no scheme"  # all of it could hold a password
        raise BadSetting(f"{name} {begins if url else 'is empty'}. It must begin with one of {known}.")
    return await table[scheme](url, settings)


def ui_dir(settings: Settings) -> Path:
    """Where the built UI lies."""
    return settings.ui_dir or Path(__file__).resolve().parents[2] / "frontend" / "dist"
