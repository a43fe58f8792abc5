"""What the HTTP destinations share in reading answers: statuses, Retry-After, foreign texts made fit to show. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from auditsink.common.redact import redact
from auditsink.delivery.outcome import Misconfigured, Outcome, Retry, RetryCause, TooLarge

_LONGEST_WISH = 3600.0  # seconds: past an hour it is a mistake or malice, and the event would only grow old
_LONGEST_TEXT = 200  # characters of a foreign text that stand in one of our sentences

_PASSING = frozenset({408, 425, 429})  # besides 5xx: RFC 9110 and 6585 and 8470 say "later"
_CAUSES = {
    408: RetryCause.TIMED_OUT,
    504: RetryCause.TIMED_OUT,
    429: RetryCause.THROTTLED,
    503: RetryCause.THROTTLED,
}
_REDIRECT = "redirects are not followed; put the final address into url"
_UNEXPECTED = "this is no answer of what should be at url; check url and what stands between"
_REMEDIES = {
    401: "check the credentials (token, auth), and what a proxy in between asks for",
    403: "check the credentials (token, auth), and what a proxy in between forbids",
    404: "there is nothing at this address; check the path in url",
    405: "POST is not taken at this address; check the path in url",
    407: "a proxy in between asks for credentials; check proxy.username and its password",
    415: "the content type or its compression is not taken; check format and compression",
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What the other side said. Header names are lower case; `body` is cut where the client's limit is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def by_status(status: int, headers: Mapping[str, str]) -> Outcome:
    """What a status means that is no success, where nothing better is known. `headers` have lower-case names."""
    if status == 413:
        return TooLarge("HTTP 413: the request is larger than the other side takes; lower batch.max_bytes")
    if status in _PASSING or status >= 500:
        cause = _CAUSES.get(status, RetryCause.UNKNOWN)
        return Retry(f"HTTP {status}", after=retry_after(headers), cause=cause)
    remedy = _REDIRECT if 300 <= status < 400 else _REMEDIES.get(status, _UNEXPECTED)
    return Misconfigured(f"HTTP {status}: {remedy}")


def by_proxy(status: int) -> Retry | Misconfigured:
    """What a proxy's answer to CONNECT means that is no success (RFC 9110, 9.3.6)."""
    if status in _PASSING or status >= 500:
        return Retry(f"the proxy answers HTTP {status}", cause=RetryCause.ELSEWHERE)
    # tinyproxy says 401 to a wrong password, and 407 only where there was none.
    remedy = _REMEDIES[407] if status in (401, 407) else "check proxy, and where it lets whom"
    return Misconfigured(f"the proxy answers HTTP {status}: {remedy}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The other side's wish in seconds (RFC 9110, 10.2.3), None if there is none or it makes no sense.

    A date is read against the answer's own `Date`, so that neither our clock nor theirs need be right; without one
    it is not understood.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_WISH)
    try:
        wish = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wish.total_seconds(), 0.0), _LONGEST_WISH)


def foreign(text: str) -> str:
    """A text from the other side: short, on one line, without control characters and without what we showed it."""
    shown = "".join(character if character.isprintable() else " " for character in redact(text)[:_LONGEST_TEXT])
    return " ".join(shown.split())
