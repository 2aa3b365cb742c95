"""Everything about people in one running server, put together; the endpoints find it at `app.state.people`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from orchestrator.accounts import Accounts
from orchestrator.ports import Bus
from orchestrator.settings import Settings
from orchestrator.users.administration import Administration
from orchestrator.users.oidc import Config, Provider
from orchestrator.users.own import Own
from orchestrator.users.passwords import Passwords
from orchestrator.users.presence import Presence
from orchestrator.users.service import Service
from orchestrator.users.sessions import Sessions
from orchestrator.users.throttle import Throttle
from orchestrator.users.visits import Visits
from orchestrator.users.watch import Watch


@dataclass(frozen=True, slots=True)
class People:
    service: Service
    sessions: Sessions
    own: Own
    administration: Administration
    passwords: Passwords
    watch: Watch
    visits: Visits

    async def close(self) -> None:
        await self.watch.close()
        await self.visits.close()
        self.passwords.close()


def start(settings: Settings, accounts: Accounts, bus: Bus, presence: Presence) -> People:
    """`close` it before the bus and the store. Raises `BadSetting`."""
    sessions = Sessions(accounts.keys, bus, presence, time.time)
    passwords = Passwords()
    throttle = Throttle(accounts.attempts, time.time)
    service = Service(accounts, sessions, passwords, throttle, settings.registration, time.time)
    watch = Watch(sessions, presence, accounts.keys, bus, time.time)
    visits = Visits(_providers(settings), service, accounts.flows, throttle, settings.oidc_newcomers, time.time)
    watch.start()
    return People(service, sessions, Own(service, time.time), Administration(service, time.time), passwords, watch, visits)


def _providers(settings: Settings) -> list[Provider]:
    """One, where the settings name one."""
    if not settings.oidc_issuer:
        return []
    secret = settings.oidc_client_secret.get_secret_value()
    config = Config(
        "oidc", settings.oidc_label, settings.oidc_issuer, settings.oidc_client_id, secret, settings.oidc_scopes
    )
    return [Provider(config, time.time)]
