"""What a request to the proxy asks for: a tunnel (CONNECT host:port) or one plain http exchange (GET http://host/…). Pure.

h11 has read the head by its strict grammar; here is refused what two readers could understand differently, and removed what
is between the sandbox and the proxy alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

from executor.egress.refusal import Refusal, malformed
from executor.egress.rules import Host, authority

Headers = list[tuple[bytes, bytes]]

PLAIN_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
ABSOLUTE = re.compile(r"http://([^/?#\\]+)([/?][^#]*)?", re.IGNORECASE)
HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect")
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`plain` is None for a tunnel."""

    host: Host
    port: int
    plain: h11.Request | None


def wanted(request: h11.Request) -> Wanted:
    """Raises Refusal."""
    names = [name for name, _ in request.headers]
    if request.http_version not in (b"1.0", b"1.1"):
        raise malformed("This proxy speaks HTTP/1.1.")
    if b"content-length" in names and b"transfer-encoding" in names:
        raise malformed("A request has a Content-Length or a Transfer-Encoding, not both.")
    try:
        return _tunnel(request, names) if request.method == b"CONNECT" else _plain(request)
    except ValueError as error:
        raise Refusal("host", f"This proxy cannot pass that on: {error}.") from None


def _tunnel(request: h11.Request, names: list[bytes]) -> Wanted:
    if b"content-length" in names or b"transfer-encoding" in names:
        raise malformed("CONNECT has no body.")
    host, port = authority(request.target.decode("ascii"))
    if port is None:
        raise malformed("CONNECT names a host and a port.")
    return Wanted(host, port, None)


def _plain(request: h11.Request) -> Wanted:
    if request.method not in PLAIN_METHODS:
        raise malformed("This proxy does not pass that method on.", 405)
    found = ABSOLUTE.fullmatch(request.target.decode("ascii"))
    if found is None:
        raise malformed("This is a proxy: ask it for http://host/path, or with CONNECT host:443 for https.")
    host, port = authority(found[1])
    path = found[2] or "/"
    target = path if path.startswith("/") else f"/{path}"
    named = host.name if port in (None, 80) else f"{host.name}:{port}"
    # Host is written anew from what was checked; the sandbox's own is not passed on.
    headers = [(b"host", named.encode()), *end_to_end(list(request.headers)), *_framing(request), (b"connection", b"close")]
    return Wanted(host, port or 80, h11.Request(method=request.method, target=target, headers=headers))


def _framing(request: h11.Request) -> Headers:
    """h11 unpacks a chunked body, and packs it again."""
    chunked = any(name == b"transfer-encoding" for name, _ in request.headers)
    return [(b"transfer-encoding", b"chunked")] if chunked else []


def end_to_end(headers: Headers) -> Headers:
    """Without what concerns one connection alone, named or not, and without whatever is meant for proxies."""
    named = {
        word.strip().lower() for name, value in headers if name.lower() == b"connection" for word in value.split(b",")
    } - {b"content-length"}  # that would take the frame off a body
    return [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in HOP_BY_HOP | named and low != b"host" and not low.startswith(b"proxy-")
    ]


def response_head(response: h11.Response) -> h11.Response:
    """What of an upstream's answer is handed on."""
    kept = end_to_end(list(response.headers))
    headers = [*kept, (b"connection", b"close")]
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)
