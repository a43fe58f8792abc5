"""Listening sockets, and what is said when there can be none."""

import socket

import pytest

from auditsink.common.listen import ListenError, bound, listen


def speaks_ipv6() -> bool:
    """A container's network may have no address of that family, not even loopback's."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not speaks_ipv6(), reason="this machine has no IPv6 address")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1:0", "127.0.0.1"),
        pytest.param("[::1]:0", "::1", marks=needs_ipv6),
        ("localhost:0", "127.0.0.1"),
    ],
)
def test_it_listens_where_it_is_told(text: str, host: str) -> None:
    with listen("admin.listen", text) as listening:
        address = bound(listening)
        assert (address.host, address.port > 0) == (host, True)
        with socket.create_connection((host, address.port), timeout=5):
            pass


@needs_ipv6
def test_no_host_is_every_address() -> None:
    with listen("admin.listen", ":0") as listening:
        port = bound(listening).port
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=5):
                pass


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.1:0", "Cannot assign requested address; this machine has no such address; choose one that it has"),
        ("no-such-host.invalid:0", "; check the address"),
    ],
)
def test_an_address_that_cannot_be_is_told_with_its_key(text: str, why: str) -> None:
    with pytest.raises(ListenError) as caught:
        listen("admin.listen", text)
    assert str(caught.value).startswith(f"admin.listen {text}: ")
    assert str(caught.value).endswith(why)


def test_a_port_in_use_is_told_with_its_key() -> None:
    with listen("admin.listen", "127.0.0.1:0") as listening:
        text = str(bound(listening))
        with pytest.raises(ListenError) as caught:
            listen("admin.listen", text)
    remedy = "stop what listens there, or choose another port"
    assert str(caught.value) == f"admin.listen {text}: Address already in use; {remedy}"
