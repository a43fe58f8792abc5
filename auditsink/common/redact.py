"""The belt beside the braces: stars for what looks like a credential in a text that is about to leave the process.

The braces are `common.secret`: a secret does not print itself. This catches what others print for it, an exception
of a library that quotes a header, a URL with a password in it, a server that says back what it was shown.
"""

import base64
import json
import re
from collections.abc import Iterator
from threading import Lock
from urllib.parse import quote, quote_plus

from auditsink.common import secret

STARS = "***"
SHORTEST = 6
"""Characters of a known secret that are looked for; a shorter one would star half of every text."""

_CREDENTIALS = (
    re.compile(r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?)[^\s'\",;]+(?:\s+[^\s'\",;]+)?()"),
    re.compile(r"(\b(?:Bearer|Basic)\s+)(?!\*)[^\s'\",;]+()"),
    # The product has the name of the scheme, so what follows must look like a token.
    re.compile(r"(\bSplunk\s+)(?=[^\s'\",;]*\d)[A-Za-z0-9._~+/=-]{8,}()"),
    # A scheme has an end: without one, a text of letters and dots would take the square of its length.
    re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@'\"]+(@)"),
)


class _Known:
    """Every form of every secret in use, by the characters that it begins with: one look-up for each place of a text.

    Made anew when a secret came or went, and not before: a line of the log costs the same with one and with thousands.
    """

    def __init__(self) -> None:
        self._forms: dict[str, tuple[str, ...]] = {}
        self._by_start: dict[str, list[str]] = {}
        self._lock = Lock()

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where forms stand in the text, in ascending order of their starts; they may overlap."""
        with self._lock:
            if secret.changed():
                self._make()
            by_start = self._by_start
        if not by_start:
            return
        for at in range(len(text) - SHORTEST + 1):
            for form in by_start.get(text[at : at + SHORTEST], ()):
                if text.startswith(form, at):
                    yield at, at + len(form)
                    break

    def _make(self) -> None:
        values = [value for value in secret.alive() if len(value) >= SHORTEST]
        self._forms = {value: self._forms.get(value) or _forms(value) for value in values}
        by_start: dict[str, list[str]] = {}
        for form in {form for forms in self._forms.values() for form in forms}:
            by_start.setdefault(form[:SHORTEST], []).append(form)
        for several in by_start.values():
            several.sort(key=len, reverse=True)  # one may be a part of another
        self._by_start = by_start


_known = _Known()


def redact(text: str) -> str:
    """The text with stars for every known secret and for everything that looks like a credential.

    A secret is found as it is, as JSON and URLs write it, and in base64, whatever stands beside it there.
    """
    shown, done = [], 0
    for start, stop in _known.spans(text):
        if stop <= done:
            continue
        if start >= done:
            shown += [text[done:start], STARS]
        done = stop
    text = "".join([*shown, text[done:]])
    for pattern in _CREDENTIALS:
        text = pattern.sub(rf"\g<1>{STARS}\g<2>", text)
    return text


def _forms(value: str) -> tuple[str, ...]:
    """How a secret may be written."""
    percent = (quote(value), quote(value, safe=""), quote_plus(value))
    forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], *percent}
    forms |= {_lower_escapes(one) for one in percent}
    forms |= {core for one in (value, *percent) for core in _cores(one.encode())}
    return tuple(form for form in forms if len(form) >= SHORTEST)


def _lower_escapes(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda escape: escape[0].lower(), text)


def _cores(content: bytes) -> Iterator[str]:
    """The characters of base64 (both alphabets) that are the same whatever stands around it: for `user:password`."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + content).decode()
        core = encoded[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        yield core
        yield core.translate({ord("+"): "-", ord("/"): "_"})
