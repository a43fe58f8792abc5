"""What something in between says in a collector's place: told by its looks, and by what an empty request gets."""

import pytest

from auditsink.http.answers import HttpAnswer
from auditsink.http.pages import not_about_events, page, page_title, wants_tls

LOGIN = b"<!DOCTYPE html><html><head><title>\n Sign in &mdash; SSO </title></head><body>Please</body></html>"


def answer(status: int = 200, body: bytes = b"", content_type: str = "") -> HttpAnswer:
    return HttpAnswer(status, {"content-type": content_type} if content_type else {}, body)


@pytest.mark.parametrize(
    ("found", "title"),
    [
        (answer(body=LOGIN), "Sign in &mdash; SSO"),
        (answer(body=b"\xef\xbb\xbf\n  <HTML><TITLE>Blocked</TITLE>"), "Blocked"),
        (answer(body=b"<!-- saved --><html><title>x</title>"), "x"),
        (answer(body=b"<html><body>no title"), ""),
        (answer(body=b"Please <a href='/login'>sign in</a>", content_type="text/html; charset=utf-8"), ""),
        (answer(body=b"<script>location='/login'</script>"), ""),
        (answer(body=b'<meta http-equiv="refresh" content="0;url=/login">'), ""),
        (answer(body=b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C"><html><title>Portal</title>'), "Portal"),
        (answer(body=b"<center><h1>Blocked</h1></center>", content_type="TEXT/HTML"), ""),
        (answer(body=b"OK", content_type="text/html; charset=utf-8"), None),
        (answer(body=b'{"status":"ok"}', content_type="text/html; charset=UTF-8"), None),
        (answer(204, content_type="text/html"), None),
        (answer(body=b'<html><title lang="de">Anmelden</title>'), "Anmelden"),
        (answer(body=b""), None),
        (answer(body=b"ok"), None),
        (answer(body=b'{"text":"<html>"}'), None),
        (answer(body=b"<xml/>", content_type="application/xml"), None),
        (answer(body=b"<headers/>"), None),
    ],
)
def test_a_page_and_its_title(found: HttpAnswer, title: str | None) -> None:
    assert page_title(found) == title


def test_a_title_is_made_fit_to_show() -> None:
    assert page_title(answer(body=b"<title>\x1b[31m" + b"x" * 9999 + b"</title>")) == "[31m" + "x" * 195


def test_the_sentence_has_the_title() -> None:
    told = page(answer(body=LOGIN))
    assert told is not None
    assert "HTTP 200 with an HTML page titled 'Sign in &mdash; SSO'" in told.why
    assert page(answer(body=b"ok")) is None


def test_a_firewall_that_answers_a_success_without_a_page_is_named() -> None:
    """AWS WAF's Challenge: 202 and no body for whoever does not ask for HTML."""
    told = page(HttpAnswer(202, {"x-amzn-waf-action": "challenge"}, b""))
    assert told is not None
    assert "HTTP 202 from AWS WAF (challenge)" in told.why


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<title>400 The plain HTTP request was sent to HTTPS port</title>",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
        b"This combination of host and port requires TLS.",
    ],
)
def test_what_servers_say_to_plain_http_on_a_port_for_tls(body: bytes) -> None:
    told = wants_tls(answer(400, body))
    assert told is not None
    assert "write https:// into url" in told.why
    assert wants_tls(answer(200, body)) is None
    assert page(answer(400, body)) == told


def test_an_ordinary_refusal_does_not_speak_of_tls() -> None:
    assert wants_tls(answer(400, b'{"error":"invalid JSON at https://x"}')) is None


@pytest.mark.parametrize(
    ("refusal", "to_nothing", "proof"),
    [
        (answer(400, b"Bad request 71f3, 17:01:22"), answer(400, b"Bad request 82aa, 17:01:23"), True),
        (answer(400, LOGIN), answer(400, LOGIN), True),
        (answer(400, b"bad event 7"), answer(400, b"no events"), False),
        (answer(400, b"bad"), answer(422, b"bad"), False),
        (answer(400, b"bad"), answer(200, b"bad"), False),
        (answer(400), answer(400), False),
    ],
)
def test_the_same_refusal_of_nothing_is_the_proof(refusal: HttpAnswer, to_nothing: HttpAnswer, proof: bool) -> None:
    assert (not_about_events(refusal, to_nothing) is not None) is proof
