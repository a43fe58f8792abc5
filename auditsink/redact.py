"""The belt beside the braces: stars for what looks like a credential in a text that is about to leave the process.

The braces are `auditsink.secret`: a secret does not print itself. This catches what others print for it, an exception
of a library that quotes a header, a URL with a password in it.
"""

import re

from auditsink import secret

STARS = "***"
SHORTEST = 6
"""Characters of a known secret that are looked for; a shorter one would star half of every text."""

_CREDENTIALS = (
    re.compile(r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?)[^\s'\",;]+(?:\s+[^\s'\",;]+)?()"),
    re.compile(r"(\b(?:Bearer|Basic)\s+)(?!\*)[^\s'\",;]+()"),
    # The product has the name of the scheme, so what follows must look like a token.
    re.compile(r"(\bSplunk\s+)(?=[^\s'\",;]*\d)[A-Za-z0-9._~+/=-]{8,}()"),
    re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+(@)"),
)


def redact(text: str) -> str:
    """The text with stars for every known secret and for everything that looks like a credential."""
    for value in sorted(secret.alive(), key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, STARS)
    for pattern in _CREDENTIALS:
        text = pattern.sub(rf"\g<1>{STARS}\g<2>", text)
    return text
