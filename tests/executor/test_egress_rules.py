"""Which hosts a sandbox may ask for: names in one form, addresses in no disguise, ports as listed."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.egress.refusal import Refusal
from executor.egress.rules import Rules, authority, entries, entry, host

LITERALS = [
    *("127.0.0.1", "169.254.169.254", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "0", "1"),
    *("017700000001", "0x7F.0.0.1", "127.0.0.1.", "4294967297", "1.2.3.4.5", "00127.0.0.1", "0x", "2852039166"),
    *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    *("[fe80::1%eth0]", "[fe80::1%25eth0]", "[v1.x]", "[]", "[127.0.0.1]", "::1", "fd00:ec2::254"),
    *("１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "example.0x7f", "example.1"),
]


@pytest.mark.parametrize("text", LITERALS)
def test_t9_an_address_is_refused_however_it_is_spelled(text: str) -> None:
    try:
        found, _ = authority(text)
    except ValueError:
        return
    assert found.address is not None
    with pytest.raises(Refusal, match="not among them"):
        Rules(entries("example.com,*.example.com")).check(found, 443, plain=False)


@given(st.ip_addresses(v=4), st.sampled_from(["d", "x", "o", "dot", "hexdot", "octdot", "short"]))
def test_t9_no_spelling_of_an_ipv4_address_is_a_name(address: ipaddress.IPv4Address, how: str) -> None:
    number, parts = int(address), address.packed
    text = {
        "d": str(number),
        "x": hex(number),
        "o": f"0{number:o}",
        "dot": str(address),
        "hexdot": ".".join(map(hex, parts)),
        "octdot": ".".join(f"0{part:o}" for part in parts),
        "short": f"{parts[0]}.{number & 0xFFFFFF}",
    }[how]
    try:
        found = host(text)
    except ValueError:
        return
    assert found.address == address and str(address) == text.removesuffix("."), "read as a name, or as another address"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a\tb",
            "a\nb",
            "a\0b",
            "a%2eb",
            "a/b",
            "a@b",
            "a#b",
            "a?b",
            "a\\b",
            "*.b",
        ),
        *(
            "x" * 64 + ".com",
            "a." * 127 + "toolong",
            "a:b",
            "user@host",
            "[::1",
            "::1]",
            "a,b",
            "a:0",
            "a:65536",
            "a:80:80",
        ),
        *("a:", ":80", "a:+80", "a:８０", "a:8_0", "[::1]x:80"),
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        authority(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PyPI.org", "pypi.org"),
        ("pypi.org.", "pypi.org"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ｐｙｐｉ．ｏｒｇ", "pypi.org"),
        ("1e100.net", "1e100.net"),
        ("localhost", "localhost"),
        ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ],
)
def test_names_are_compared_in_one_form(text: str, name: str) -> None:
    assert host(text).name == name


@given(st.text(min_size=1, max_size=80))
def test_a_host_is_read_once_and_for_all(text: str) -> None:
    """Whatever is accepted reads the same a second time, and can be put into a header or a log line as it is."""
    try:
        found = host(text)
    except ValueError:
        return
    assert host(found.name) == found
    assert found.name.isascii() and found.name.isprintable() and not set(found.name) & set(" /@#?\\%,")


ALLOWED = "pypi.org, *.pythonhosted.org, mirror.corp:8080, plain.example:80, 192.0.2.7:443, [2001:db8::7]:443,tls.corp:8443"


@pytest.mark.parametrize(
    ("to", "plain", "allowed"),
    [
        ("pypi.org:443", False, True),
        ("PYPI.ORG.:443", False, True),
        ("pypi.org:80", True, False),
        ("pypi.org:443", True, False),
        ("pypi.org:22", False, False),
        ("pypi.org:8443", False, False),
        ("evil-pypi.org:443", False, False),
        ("pypi.org.evil.example:443", False, False),
        ("files.pythonhosted.org:443", False, True),
        ("a.b.pythonhosted.org:443", False, True),
        ("pythonhosted.org:443", False, False),
        ("evilpythonhosted.org:443", False, False),
        ("files.pythonhosted.org:80", True, False),
        ("mirror.corp:8080", True, True),
        ("mirror.corp:8080", False, True),
        ("mirror.corp:443", False, False),
        ("mirror.corp:80", True, False),
        ("plain.example:80", True, True),
        ("192.0.2.7:443", False, True),
        ("192.0.2.8:443", False, False),
        ("[2001:db8:0:0::7]:443", False, True),
        ("tls.corp:8443", False, True),
    ],
)
def test_hosts_and_ports_as_listed(to: str, plain: bool, allowed: bool) -> None:
    where, port = authority(to)
    assert port is not None
    try:
        Rules(entries(ALLOWED)).check(where, port, plain)
    except Refusal as refused:
        assert not allowed, refused
    else:
        assert allowed


def test_t9_a_refusal_says_what_may_be_reached_and_whom_to_ask() -> None:
    rules = Rules(entries("pypi.org,files.pythonhosted.org"))
    with pytest.raises(Refusal) as refused:
        rules.check(host("example.com"), 443, plain=False)
    assert refused.value.words == (
        "This sandbox may reach pypi.org, files.pythonhosted.org. example.com is not among them: "
        "ask the operator to add it to CODEACT_SANDBOX_EGRESS_ALLOW."
    )
    with pytest.raises(Refusal, match=r"port 80.*CODEACT_SANDBOX_EGRESS_ALLOW"):
        rules.check(host("pypi.org"), 80, plain=True)
    with pytest.raises(Refusal, match="no host at all"):
        Rules(()).check(host("pypi.org"), 443, plain=False)


def test_a_long_list_is_not_told_in_full() -> None:
    with pytest.raises(Refusal, match="and 92 more") as refused:
        Rules(entries(",".join(f"host{number}.example" for number in range(100)))).check(host("x.y"), 443, plain=False)
    assert len(refused.value.words) < 500


@pytest.mark.parametrize(
    "text", ["https://pypi.org", "pypi.org/simple", "*", "*.", "a b", "*.10.0.0.1", "user@host", "a:b"]
)
def test_an_entry_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"write host|below an address"):
        entries(f"pypi.org,{text}")


def test_entries_are_read_once_each_and_written_as_they_are_read() -> None:
    assert [str(one) for one in entries(" A.example , a.example,, *.B.example:80,[::1]:8080 ")] == [
        "a.example",
        "*.b.example:80",
        "[::1]:8080",
    ]
    assert entry("*.b.example:80").below


def test_private_addresses_are_meant_for_the_hosts_that_say_so() -> None:
    rules = Rules((), entries("mirror.corp,*.lan"))
    meant = {name: rules.private_is_meant(host(name)) for name in ("mirror.corp", "a.lan", "lan", "x.mirror.corp", "corp")}
    assert meant == {"mirror.corp": True, "a.lan": True, "lan": False, "x.mirror.corp": False, "corp": False}
