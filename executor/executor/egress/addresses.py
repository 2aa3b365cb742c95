"""Which addresses a sandbox may be connected to, whatever name led there. Pure.

Of IPv6 only what is globally routed and stands for itself is public: addresses that carry an IPv4 address inside (mapped,
6to4, Teredo, NAT64, ISATAP) would lead around the table above.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address


class Kind(Enum):
    PUBLIC = 1
    PRIVATE = 2  # reached only where the operator says that it is meant
    NEVER = 3


PRIVATE_4 = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT, RFC 6598
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "192.0.2.0/24",  # documentation; some networks use it, and what follows, as their own
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",  # reserved
    )
)
NEVER_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "100.100.100.200/32",  # metadata (Alibaba), in the midst of a private range
        "168.63.129.16/32",  # metadata (Azure), in the midst of a public one
        "192.0.0.0/24",  # protocol assignments; metadata (Oracle)
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "255.255.255.255/32",  # broadcast
    )
)
GLOBAL_6 = IPv6Network("2000::/3")
PRIVATE_6 = tuple(
    IPv6Network(text)
    for text in (
        "::1/128",
        "fc00::/7",
        "2001:db8::/32",  # documentation
        "3fff::/20",
    )
)
NEVER_6 = tuple(
    IPv6Network(text)
    for text in (
        "fd00:ec2::/32",  # metadata (Amazon)
        "fd20:ce::254/128",  # metadata (Google)
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2002::/16",  # 6to4
    )
)
ISATAP = (0x00005EFE, 0x02005EFE)  # third quarter of the address, RFC 5214


def kind(address: Address) -> Kind:
    return _kind_4(address) if isinstance(address, IPv4Address) else _kind_6(address)


def _kind_4(address: IPv4Address) -> Kind:
    if any(address in network for network in NEVER_4):
        return Kind.NEVER
    return Kind.PRIVATE if any(address in network for network in PRIVATE_4) else Kind.PUBLIC


def _kind_6(address: IPv6Address) -> Kind:
    if address.scope_id is not None or any(address in network for network in NEVER_6):
        return Kind.NEVER
    if any(address in network for network in PRIVATE_6):
        return Kind.PRIVATE
    embedded = (int(address) >> 32) & 0xFFFFFFFF in ISATAP
    return Kind.PUBLIC if address in GLOBAL_6 and not embedded else Kind.NEVER


def parse(texts: list[str]) -> list[Address]:
    """Addresses from a resolver's answer; what is none is left out."""
    found: list[Address] = []
    for text in texts:
        try:
            found.append(ip_address(text))
        except ValueError:
            continue
    return found


def reachable(addresses: list[Address], private_is_meant: bool) -> list[Address]:
    """Those that may be connected to, in their order."""
    allowed = (Kind.PUBLIC, Kind.PRIVATE) if private_is_meant else (Kind.PUBLIC,)
    return [address for address in addresses if kind(address) in allowed]
