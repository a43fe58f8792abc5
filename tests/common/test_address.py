"""Listen addresses."""

import pytest

from auditsink.common.listen import parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9880", "127.0.0.1", 9880),
        ("[::1]:0", "::1", 0),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        (":9880", "", 9880),
        ("localhost:1", "localhost", 1),
    ],
)
def test_an_address_is_read_and_written(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "9880", "::1:80", "[::1]", "h:", "h:65536", "h:-1", "a b:1", "h:1\n", "http://h:1"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="like 0"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "loopback"), [("127.9.9.9:1", True), ("[::1]:1", True), ("0.0.0.0:1", False), (":1", False)]
)
def test_loopback_is_told_from_the_open(text: str, loopback: bool) -> None:
    assert parse_address(text).loopback is loopback
