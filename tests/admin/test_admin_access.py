"""Who may ask for what: the table of rules, tokens, the throttle."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.admin.access import TRIES, TRY_SECONDS, Access, Need, Throttle, parse_token, same
from auditsink.common.secret import Secret

TOKEN = "a-token-of-the-operator"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LOCAL = {"host": "127.0.0.1:2020"}
REBOUND = {"host": "evil.example:2020"}
JSON = {"content-type": "application/json"}


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def code(need: Need, headers: Mapping[str, str], *, loopback: bool = True, token: bool = False) -> int:
    access = Access(loopback=loopback, token=(lambda: Secret(TOKEN)) if token else None, now=Watch())
    denied = access.denied(need, headers, "peer")
    return 200 if denied is None else denied.status


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize("token", [True, False])
def test_probes_are_for_everybody(loopback: bool, token: bool) -> None:
    foreign = {"host": "pod.example", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert code(Need.PROBE, foreign, loopback=loopback, token=token) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:2020", 200), ("127.9.9.9", 200), ("localhost:2020", 200), ("LOCALHOST", 200), ("[::1]:2020", 200),
        ("[fe80::1%25eth0]:1", 200), ("10.1.2.3:2020", 200), ("evil.example", 421), ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:2020", 421), ("", 421), ("[::1", 421), ("localhost@evil.example", 421),
        ("0x7f.1", 421),
    ],
)  # fmt: skip
def test_a_loopback_port_is_asked_for_by_an_address_or_as_localhost(host: str, expected: int) -> None:
    assert code(Need.NUMBERS, {"host": host}) == expected


def test_behind_the_network_any_name_may_be_right() -> None:
    assert code(Need.NUMBERS, {"host": "auditsink.monitoring.svc:2020"}, loopback=False) == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"origin": "http://127.0.0.1:2020"}, 200),
        ({"origin": "http://127.0.0.1:2021"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
    ],
)
def test_a_browser_asks_from_the_page_itself(headers: dict[str, str], expected: int) -> None:
    assert code(Need.NUMBERS, LOCAL | headers) == expected


@pytest.mark.parametrize(
    ("loopback", "token", "headers", "expected"),
    [
        (True, False, {}, 200),
        (False, False, {}, 403),
        (True, True, {}, 401),
        (False, True, {}, 401),
        (False, True, BEARER, 200),
        (True, True, BEARER, 200),
        (True, True, {"authorization": f"bearer  {TOKEN} "}, 200),
        (True, True, {"authorization": f"Basic {TOKEN}"}, 401),
        (True, True, {"authorization": f"Bearer {TOKEN}x"}, 401),
        (True, True, {"authorization": "Bearer"}, 401),
        (True, False, {"host": "evil.example"}, 421),
        (True, True, BEARER | {"origin": "http://evil.example"}, 403),
    ],
)
def test_content_needs_the_token_or_without_one_the_loopback(
    loopback: bool, token: bool, headers: dict[str, str], expected: int
) -> None:
    assert code(Need.CONTENT, LOCAL | headers, loopback=loopback, token=token) == expected


@pytest.mark.parametrize(
    ("token", "headers", "expected"),
    [
        (True, BEARER | JSON, 200),
        (True, BEARER | {"content-type": "application/json; charset=utf-8"}, 200),
        (True, BEARER | {"content-type": "text/plain"}, 415),
        (True, BEARER, 415),
        (True, JSON, 401),
        (False, JSON, 403),
        (False, BEARER | JSON, 403),
    ],
)
def test_changes_need_the_token_always(token: bool, headers: dict[str, str], expected: int) -> None:
    assert code(Need.CHANGE, LOCAL | headers, token=token) == expected


def test_no_refusal_tells_the_token() -> None:
    access = Access(loopback=True, token=lambda: Secret(TOKEN), now=Watch())
    for sent in ("", "Bearer wrong", f"Basic {TOKEN}"):
        denied = access.denied(Need.CONTENT, LOCAL | {"authorization": sent}, "peer")
        assert denied is not None
        assert TOKEN not in denied.why


def test_who_guesses_has_to_wait_and_nobody_else() -> None:
    watch = Watch()
    access = Access(loopback=True, token=lambda: Secret(TOKEN), now=watch)

    def ask(token: str, peer: str = "10.0.0.1") -> int:
        denied = access.denied(Need.CONTENT, LOCAL | {"authorization": f"Bearer {token}"}, peer)
        return 200 if denied is None else denied.status

    assert [ask("wrong") for _ in range(TRIES + 2)] == [401] * TRIES + [429] * 2
    assert ask(TOKEN) == 429  # or each guess would still be told whether it is right
    assert ask(TOKEN, "10.0.0.2") == 200
    watch.now += TRY_SECONDS
    assert (ask("wrong"), ask("wrong")) == (401, 429)
    watch.now += TRIES * TRY_SECONDS
    assert [ask(TOKEN) for _ in range(100)] == [200] * 100


def test_the_throttle_forgets_past_a_bound() -> None:
    throttle = Throttle(Watch())
    for number in range(5000):
        throttle.failed(f"peer {number}")
    assert len(throttle._free_at) == 1024


@given(st.text(), st.text())
def test_tokens_are_the_same_when_they_are_equal(one: str, other: str) -> None:
    assert same(one, other) is (one.encode(errors="surrogatepass") == other.encode(errors="surrogatepass"))


def test_odd_bytes_in_a_header_are_a_wrong_token() -> None:
    assert same("\udcff\u2603", TOKEN) is False


@pytest.mark.parametrize(
    "content", [b"", b"short", b"x" * 15, b"a token of several words", "ä".encode() * 20, b"\xff" * 20]
)
def test_a_weak_token_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"token|secret"):
        parse_token(content)


def test_a_token_is_read_without_its_line_break() -> None:
    assert parse_token(f"{TOKEN}\n".encode()).reveal() == TOKEN
