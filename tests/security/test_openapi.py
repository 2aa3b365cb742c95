"""The app's OpenAPI document, fuzzed against the running app as an administrator, as Ann, as Bob and as nobody.

Schemathesis makes requests that fit the document and such that do not; every answer must fit it, none may be our fault, and
nothing of Ann's is in what anybody else is told.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.checks import not_a_server_error as no_fault_of_ours
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchestrator.openai_api.schemas import ChatRequest
from tests.security.scene import MARK, Scene, a_scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = 3
"""Of each kind, for each operation."""

CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance]
AWAY = ("/readyz", "/api/admin/sandboxes/")
"""These may be 503 here, where no executor listens."""

ENDS_THE_SESSION = {"POST /api/auth/logout", "POST /api/auth/password"}
"""Asked by nobody but the stranger here: others would go on as strangers."""

OPEN = {
    "GET /healthz", "GET /readyz", "GET /api/auth/state", "POST /api/auth/register", "POST /api/auth/logout",
    "POST /api/auth/reset", "GET /api/auth/oidc/{id}/start", "POST /api/auth/oidc/{id}/start",
    "GET /api/auth/oidc/{id}/callback",
}  # fmt: skip
"""Where nobody is told 401."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("data")) as one:
        yield one


class Asked:
    """Sends a case as each of the people, and judges the answers."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._session = requests.Session()
        self._session.trust_env = False
        self.statuses: dict[str, set[int]] = {}
        self.ann_has_seen_hers = False

    def all(self, case: Case) -> None:
        name = f"{case.method.upper()} {case.operation.path}"
        people = {"nobody": "", **{one: getattr(self._scene, one).secret() for one in ("bob", "ann", "admin")}}
        for who, secret in people.items():
            hers = (
                who == "ann" and self._scene.conversation in case.path_parameters.values() and case.method.upper() != "GET"
            )
            if not hers and (who == "nobody" or name not in ENDS_THE_SESSION):
                self.one(case, who, secret)

    def one(self, case: Case, who: str, secret: str) -> None:
        self._session.cookies.clear()
        kwargs = {"cookies": {"codeact_login": secret}} if secret else {}
        answer = case.call(base_url=self._scene.url, session=self._session, allow_redirects=False, **kwargs)
        self.statuses.setdefault(f"{case.method.upper()} {case.operation.path}", set()).add(answer.status_code)
        away = answer.status_code == 503 and case.path.startswith(AWAY)
        case.validate_response(answer, checks=CHECKS if away else [no_fault_of_ours, *CHECKS])
        if who == "ann":
            self.ann_has_seen_hers |= MARK in answer.text
        else:
            told = answer.text + str(answer.headers)
            asked = f"{answer.request.url} {answer.request.body!r}"
            secrets = {MARK} if who == "admin" else self._scene.theirs
            leaked = [secret for secret in secrets if secret in told and secret not in asked]
            assert not leaked, f"{who} is told {leaked} by {case.as_curl_command()}"


def document(app: Any) -> dict[str, Any]:
    """The app's, with the body that the OpenAI door reads by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # /v1/{path} is one operation of many methods
        found: dict[str, Any] = app.openapi()
    chat = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    found["components"]["schemas"].update(chat.pop("$defs"))
    chat["properties"]["model"] = {"const": "codeact"}
    body = {"required": True, "content": {"application/json": {"schema": chat}}}
    found["paths"]["/v1/chat/completions"]["post"]["requestBody"] = body
    return found


def cases(operation: Any, scene: Scene) -> Iterator[Any]:
    """Requests that fit, requests that do not where there is a way not to, and requests about what is Ann's."""
    yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    parameters = {parameter.name for parameter in operation.path_parameters}
    if operation.body or operation.query or parameters & {"id", "conversation"}:
        yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    theirs = {"id": scene.conversation, "conversation": scene.conversation, "turn": "t"}
    known = {name: theirs[name] for name in parameters & theirs.keys()}
    if known and not operation.path.startswith("/api/admin/"):
        yield operation.as_strategy(path_parameters=known)


def fuzz(strategy: Any, judge: Callable[[Case], None]) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(strategy)
    def each(case: Case) -> None:
        judge(case)

    each()


def operations(scene: Scene) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(document(scene.here.app.app))
    for result in schema.get_all_operations():
        yield result.ok()


async def test_whatever_is_asked_is_answered_as_documented_and_nobody_learns_of_anns(scene: Scene) -> None:
    load_all_checks()
    before, asked = await scene.page(), Asked(scene)

    def work() -> list[str]:
        wrong = []
        for operation in operations(scene):
            for strategy in cases(operation, scene):
                try:
                    fuzz(strategy, asked.all)
                except (Exception, BaseExceptionGroup) as error:
                    more = getattr(error, "exceptions", "")
                    wrong.append(f"{operation.method.upper()} {operation.path}: {error!r} {more}")
        return wrong

    wrong = await asyncio.to_thread(work)
    assert not wrong, "\n".join(wrong)
    assert {name for name, statuses in asked.statuses.items() if 401 not in statuses} == OPEN
    assert asked.ann_has_seen_hers, "what the others must not see was there to be seen"
    assert await scene.page() == before
