"""Signing in by way of a provider: somebody is sent there, and comes back once, in the browser that left.

Accounts are told apart by what the provider calls the person, never by their e-mail address: whoever registers here with
somebody else's address is not handed that person's sign-in later. Who has an account connects it while signed in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from orchestrator.accounts import Flow, Flows, Identity
from orchestrator.errors import CodeActError, Forbidden, NotFound, Taken
from orchestrator.users.oidc import Provider, Visitor
from orchestrator.users.oidc_token import Untrusted
from orchestrator.users.schemas import Email, OidcProvider, SignInError
from orchestrator.users.secret import digest, fresh
from orchestrator.users.service import DISABLED, Client, Newcomer, Service
from orchestrator.users.throttle import Throttle

log = logging.getLogger(__name__)

FLOW_S = 600.0
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


class Away(CodeActError):
    """The provider cannot be reached just now."""

    status = 503


@dataclass(frozen=True, slots=True)
class Back:
    """Where to go on in the page, and the secret of a session if there is a new one."""

    path: str
    secret: str = ""


class Visits:
    """`newcomers`: whoever comes from a provider gets an account, whatever registration says."""

    def __init__(
        self, providers: list[Provider], service: Service, flows: Flows, throttle: Throttle, newcomers: bool,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._providers = {provider.config.id: provider for provider in providers}
        self._service, self._flows, self._throttle = service, flows, throttle
        self._newcomers = newcomers
        self._clock = clock

    def offered(self) -> list[OidcProvider]:
        return [OidcProvider(id=one.config.id, label=one.config.label) for one in self._providers.values()]

    async def leave(
        self, provider: str, back: str, client: Client, *, return_to: str = "/", invite: str = "", links: str = ""
    ) -> tuple[str, str]:
        """Where to send the browser, and the secret it is to keep meanwhile. `invite`: the hash of an invitation's secret;
        `links`: the user whose account to connect. Raises `NotFound`, `TooMany`, `Away`."""
        one = self._provider(provider)
        await self._throttle.visiting(client.address)
        state, nonce, verifier, browser = fresh(), fresh(), fresh(), fresh()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        try:
            address = await one.address(state, nonce, challenge, back)
        except Untrusted as error:
            log.warning("signing in with %s is not possible: %s", provider, error)
            raise Away(f"{one.config.label} cannot be reached just now. Try again, or sign in another way.") from error
        until = self._clock() + FLOW_S
        own = own_path(return_to)
        flow = Flow(digest(state), digest(browser), provider, digest(nonce), verifier, own, invite, links, until)
        await self._flows.begin(flow)
        return address, browser

    async def come_back(self, provider: str, asked: Mapping[str, str], browser: str, back: str, client: Client) -> Back:
        """Raises `NotFound`; what goes wrong beyond that is told on the page."""
        one = self._provider(provider)
        flow = await self._flows.take(digest(asked.get("state", "")), self._clock())
        if flow is None or flow.provider != provider or not hmac.compare_digest(flow.browser, digest(browser)):
            return _sorry(SignInError.EXPIRED)
        if "code" not in asked or asked.get("iss", one.config.issuer) != one.config.issuer:
            why = asked.get("error", "no code, or as another issuer")[:100]
            log.warning("%s sent somebody back with %r", provider, why)
            return _sorry(SignInError.CANCELLED if asked.get("error") == "access_denied" else SignInError.FAILED)
        try:
            visitor = await one.visitor(asked["code"], flow.verifier, flow.nonce, back)
        except Untrusted as error:
            log.warning("somebody came back from %s, and %s", provider, error)
            return _sorry(SignInError.FAILED)
        identity = Identity(provider, visitor.subject)
        if flow.links:
            return await self._connect(flow, identity)
        return await self._sign_in(flow, identity, visitor, client)

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()

    async def _connect(self, flow: Flow, identity: Identity) -> Back:
        if not await self._service.accounts.users.identify(flow.links, identity, self._clock()):
            return _sorry(SignInError.CONNECTED_ELSEWHERE)
        await self._service.note(flow.links, "identity.connected", flow.links, provider=identity.provider)
        return Back(flow.return_to)

    async def _sign_in(self, flow: Flow, identity: Identity, visitor: Visitor, client: Client) -> Back:
        user = await self._service.accounts.users.by_identity(identity)
        try:
            if user is None:
                newcomer = _newcomer(visitor, flow.invite, self._newcomers)
                if await self._service.accounts.users.by_email(newcomer.email) is not None:
                    return _sorry(SignInError.EMAIL_TAKEN)
                user = await self._service.add(newcomer, None, identity)
            return Back(flow.return_to, await self._service.sign_in(user, f"oidc:{identity.provider}", client))
        except Taken:
            return _sorry(SignInError.EMAIL_TAKEN)
        except Forbidden as error:
            return _sorry(SignInError.DISABLED if error.words == DISABLED else SignInError.NO_ACCOUNT)
        except ValidationError:
            log.warning("%s lets somebody in and names no e-mail address: ask it for the scope email", identity.provider)
            return _sorry(SignInError.FAILED)

    def _provider(self, id: str) -> Provider:
        provider = self._providers.get(id)
        if provider is None:
            raise NotFound("There is no such way to sign in here.")
        return provider


def _newcomer(visitor: Visitor, invite_hash: str, vouched: bool) -> Newcomer:
    email = _EMAIL.validate_python(visitor.email)
    name = "".join(character for character in visitor.name if character.isprintable()).strip()[:100]
    return Newcomer(email, name or email.partition("@")[0], invite_hash, vouched)


def own_path(path: str) -> str:
    """`path` if it is a page of ours, else the first one: nobody is sent anywhere else in our name."""
    parts = urlsplit(path) if path.isprintable() and "\\" not in path else None
    own = parts is not None and path.startswith("/") and not path.startswith(("//", "/api", "/v1", "/ws"))
    return path if own and parts is not None and not parts.scheme and not parts.netloc else "/"


def _sorry(why: SignInError) -> Back:
    return Back(f"/?sign_in_error={why.value}")
