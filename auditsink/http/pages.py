"""Tells an answer that something in between wrote (a login page, a firewall, a wrong port) by its looks. Pure."""

import re

from auditsink.delivery.outcome import Misconfigured
from auditsink.http.answers import HttpAnswer, foreign

_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?"
    rb"<(?:!doctype\s+html|!--|(?:html|head|body|title|meta|script|style|center|form|frameset|iframe|h[1-6])\b)",
    re.IGNORECASE,
)
_TAG = re.compile(rb"<[a-z!/]", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_HTML_TYPES = ("text/html", "application/xhtml+xml")
_WANTS_TLS = re.compile(
    rb"https server|https port|ssl-enabled server port|requires tls|http request was sent to https|use https|"
    rb"speaking plain http to an ssl",
    re.IGNORECASE,
)
"""What Go, nginx, Apache and Tomcat answer with status 400 to plain HTTP on a port that wants TLS."""
_PASSING_PARTS = re.compile(r"[0-9a-f]*[0-9][0-9a-f:.-]*", re.IGNORECASE)
"""Times, addresses and numbers of requests, which differ between two answers that say the same."""
_CHALLENGE = "x-amzn-waf-action"
"""Header with which AWS WAF answers 202 without a word to who is no browser."""
_PAGE_REMEDY = "a login page, a portal or a firewall answers in its place; check url, and proxies in between"


def page_title(answer: HttpAnswer) -> str | None:
    """The title of an HTML page, "" for one without; None for what is no page.

    The type alone makes none: many a collector calls its `ok` HTML, for that is what its framework does.
    """
    called_one = answer.headers.get("content-type", "").lower().startswith(_HTML_TYPES)
    if not _HTML.match(answer.body) and not (called_one and _TAG.search(answer.body)):
        return None
    found = _TITLE.search(answer.body)
    return foreign(" ".join(found[1].decode(errors="replace").split())) if found else ""


def wants_tls(answer: HttpAnswer) -> Misconfigured | None:
    """What a server says that was spoken to in plain HTTP where it expects TLS."""
    if answer.status not in (400, 426) or not _WANTS_TLS.search(answer.body[:4096]):
        return None
    return Misconfigured(f"HTTP {answer.status}: what listens there wants TLS; write https:// into url")


def page(answer: HttpAnswer) -> Misconfigured | None:
    """What an HTML page means where a collector's answer should be, or a firewall's answer without one."""
    if (found := wants_tls(answer)) is not None:
        return found
    if action := answer.headers.get(_CHALLENGE):
        return Misconfigured(
            f"HTTP {answer.status} from AWS WAF ({foreign(action)}) instead of the collector's answer: its rules let "
            "no request through that is not a browser's; exempt this sink from them"
        )
    title = page_title(answer)
    if title is None:
        return None
    return Misconfigured(f"HTTP {answer.status} with {_named(title)} instead of the collector's answer: {_PAGE_REMEDY}")


def not_about_events(answer: HttpAnswer, to_nothing: HttpAnswer) -> Misconfigured | None:
    """A refusal that a request without an event gets as well, word by word: it is not the events' fault."""
    if not answer.body.strip() or answer.status != to_nothing.status or _said(answer) != _said(to_nothing):
        return None
    title = page_title(answer)
    text = _named(title) if title is not None else f"({foreign(answer.body.decode(errors='replace'))})"
    return Misconfigured(
        f"HTTP {answer.status} {text}, and a request without an event gets the same: it is not what is in the events; "
        "check url, format and proxies in between"
    )


def _named(title: str) -> str:
    return f"an HTML page titled {title!r}" if title else "an HTML page"


def _said(answer: HttpAnswer) -> str:
    return _PASSING_PARTS.sub("", answer.body[:4096].decode(errors="replace"))
