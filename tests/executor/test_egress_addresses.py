"""Which addresses a sandbox may be connected to: by table, and against the standard library's own opinion."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.egress.addresses import Kind, kind, parse, reachable

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "151.101.0.223",
    "9.255.255.255",
    "172.15.0.1",
    "172.32.0.1",
    "100.63.255.255",
    "2a04:4e42::223",
]
PRIVATE = ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "127.255.255.254", "100.64.0.1", "::1"]
PRIVATE += ["fd12:3456::1", "fc00::1", "198.18.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "240.0.0.1"]
PRIVATE += ["2001:db8::1", "3fff::1"]
NEVER = [
    *(
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "168.63.129.16",
        "192.0.0.192",
        "169.254.170.2",
    ),
    *("0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "255.255.255.255", "192.88.99.1"),
    *("::", "fe80::1", "fe80::1%1", "fec0::1", "ff02::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:7f00:1"),
    *("64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::1", "2001:10::1"),
    *("2a01::5efe:127.0.0.1", "2a01::200:5efe:10.0.0.1", "5f00::1", "4000::1"),
]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(one, name) for name, many in ((Kind.PUBLIC, PUBLIC), (Kind.PRIVATE, PRIVATE), (Kind.NEVER, NEVER)) for one in many],
)
def test_t9_kinds_of_addresses(text: str, wanted: Kind) -> None:
    assert kind(ip_address(text)) is wanted


@given(st.ip_addresses())
def test_t9_nothing_is_public_that_the_standard_library_calls_private(address: IPv4Address | IPv6Address) -> None:
    if kind(address) is Kind.PUBLIC:
        assert address.is_global and not address.is_multicast and not address.is_reserved


@given(st.ip_addresses(v=4))
def test_t9_no_ipv6_address_leads_to_an_ipv4_one(address: IPv4Address) -> None:
    number = int(address)
    high = f"{number >> 16:x}:{number & 0xFFFF:x}"
    for text in (
        f"::ffff:{high}",
        f"64:ff9b::{high}",
        f"2002:{high}::1",
        f"2001:0:{high}::1",
        f"2a01::5efe:{high}",
        f"::{high}",
    ):
        assert kind(ip_address(text)) is Kind.NEVER or text in ("::0:0", "::0:1")


def test_t9_what_is_meant_to_be_private_is_still_no_metadata() -> None:
    every = parse([*PUBLIC, *PRIVATE, *NEVER, "no address", ""])
    assert reachable(every, private_is_meant=False) == parse(PUBLIC)
    assert reachable(every, private_is_meant=True) == parse([*PUBLIC, *PRIVATE])
