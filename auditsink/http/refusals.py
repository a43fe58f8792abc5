"""Tells a refusal that comes with a status of success, by the document of the answer. Pure.

Collectors, gateways and functions behind them answer 200 and say in JSON that nothing was taken, or not all:

    {"success": false}   {"error": "no such stream"}   {"errorMessage": "Task timed out"}   {"statusCode": 403}
    {"errors": true}   {"ingested": 9, "failed": 1}   [{"status": 202}, {"status": 400, "error": ".."}]

Only members at the top of the document and of the items of its lists are looked at: deeper there may be an event that
is given back. What says nothing of the kind is a success.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from auditsink.delivery.outcome import Misconfigured, Poison, Retry, RetryCause, TooLarge
from auditsink.http.answers import HttpAnswer, by_status, foreign

_decode = msgspec.json.Decoder().decode

_SUCCESS = frozenset({"ok", "succeeded", "success", "successful"})
_ERROR = frozenset({"error", "errormessage", "exception", "fault"})
_STATUS = frozenset({"code", "status", "statuscode"})
_SOME = frozenset({
    "errors", "failed", "failedcount", "failedentrycount", "failedputcount", "failedrecordcount", "failures",
    "inserterrors", "malformedlines", "quarantinedrows", "rejected",
})  # fmt: skip
"""Members that count or list what was not taken, as services spell them, without dashes and underscores."""
_BAD = frozenset({"denied", "error", "fail", "failed", "failure", "forbidden", "rejected", "unauthorized"})
_NOTHING = frozenset({"", "0", "false", "no", "none", "null", "ok", "success"})

_SHOWN = 1024  # bytes of the document, before it is made fit to show

Refusal = Misconfigured | Poison | Retry | TooLarge


def is_document(answer: HttpAnswer) -> bool:
    """Whether the body begins like JSON that could say something."""
    return answer.body.lstrip()[:1] in (b"{", b"[")


def refusal(answer: HttpAnswer) -> Refusal | None:
    """What the document means where it says no; None where it does not, and where there is none."""
    if not is_document(answer):
        return None
    try:
        said = _decode(answer.body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    members = said if isinstance(said, dict) else {"": said}
    if (found := _of_all(members, answer)) is not None:
        return found
    several = [one for value in members.values() if isinstance(value, list) for one in value if isinstance(one, dict)]
    return _of_some(members, several, answer)


def _of_all(members: Mapping[str, object], answer: HttpAnswer) -> Refusal | None:
    """Nothing was taken. A status in the document means what it means outside; else a person must look."""
    for name, value in members.items():
        if status := _status(name, value):
            if status in (400, 422):
                return Poison(None, f"HTTP {answer.status}, but the collector refuses the content ({_shown(answer)})")
            found = by_status(status, answer.headers)
            assert isinstance(found, Misconfigured | Retry | TooLarge)
            return replace(found, why=f"HTTP {answer.status}, and in its document {found.why}")
        if _says_no(name, value):
            return Misconfigured(
                f"HTTP {answer.status}, but the answer says that nothing was taken ({_shown(answer)}); check url, "
                "credentials and what stands between"
            )
    return None


def _of_some(
    members: Mapping[str, object], several: Iterable[Mapping[str, object]], answer: HttpAnswer
) -> Retry | None:
    """Not all were taken. Which is not said in a way that is known, so this may be what is in the batch."""
    bad = [(name, value) for name, value in members.items() if _counts(name, value)]
    for one in several:
        bad += [(name, value) for name, value in one.items() if _status(name, value) or _says_no(name, value)]
        bad += [(name, value) for name, value in one.items() if _counts(name, value)]
    if not bad:
        return None
    statuses = {status for name, value in bad if (status := _status(name, value))}
    cause = RetryCause.THROTTLED if statuses == {429} else RetryCause.UNKNOWN
    return Retry(f"HTTP {answer.status}, but not all events were taken ({_shown(answer)})", cause=cause)


def _status(name: str, value: object) -> int:
    """A status of HTTP that is no success; 0 for anything else."""
    if _plain(name) not in _STATUS:
        return 0
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 400 <= value < 600 else 0


def _says_no(name: str, value: object) -> bool:
    plain, word = _plain(name), value.strip().lower() if isinstance(value, str) else None
    return (
        (plain in _SUCCESS and (value is False or word == "false"))
        or (plain in _STATUS and word in _BAD)
        or (plain in _ERROR and word not in _NOTHING and bool(value))
    )


def _counts(name: str, value: object) -> bool:
    if isinstance(value, str):
        return _plain(name) in _SOME and value.strip().lower() not in _NOTHING
    return _plain(name) in _SOME and bool(value)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _shown(answer: HttpAnswer) -> str:
    return foreign(answer.body[:_SHOWN].decode(errors="replace"))
