"""Cookies: the last value of a name, taken back on demand, bounded."""

import pytest

from auditsink.http.client import Cookies


@pytest.mark.parametrize(
    ("several", "sent"),
    [
        ([], {}),
        (["node=a; Path=/; HttpOnly"], {"Cookie": "node=a"}),
        (["a=1", "b=2; Secure", "a=3"], {"Cookie": "b=2; a=3"}),
        (["BIGipServer~x=1.2; path=/", "v=a=b=="], {"Cookie": "BIGipServer~x=1.2; v=a=b=="}),
        (["a=1", "a=; Max-Age=0"], {}),
        (["a=1", "a=2; path=/; max-age=-5"], {}),
        (["a=1; Max-Age=100"], {"Cookie": "a=1"}),
        (["no-pair", "=x", "long=" + "x" * 5000], {}),
    ],
)
def test_what_is_set_is_sent(several: list[str], sent: dict[str, str]) -> None:
    cookies = Cookies()
    for one in several:
        cookies.take([one])
    assert cookies.header() == sent


def test_there_are_never_many() -> None:
    cookies = Cookies()
    cookies.take(f"n{number}=x" for number in range(1000))
    assert len(cookies.header()["Cookie"].split("; ")) == 32
    assert cookies.header()["Cookie"].endswith("n999=x")
