"""Who may ask the admin port for what. Pure but for the clock that the throttle reads.

Needs grow from `PROBE` to `CHANGE`; a request has to pass every rule up to its own:

- `PROBE` (health, metrics): everybody; kubelets, scrapers and proxies ask under any name.
- `NUMBERS` (page, status): a browser's request must come from the page itself, and on a loopback listener it must
  name the loopback or an address: a foreign page reaches a loopback port through the browser of whoever visits it,
  under its own name when it has bound that to 127.0.0.1 (DNS rebinding). Behind an address of the network any name may
  be right, and there only numbers go without a token.
- `CONTENT` (tail, dead letters) is the audit trail itself: the token where one is configured, else loopback only.
- `CHANGE` (replay, drop): the token, always, and a body that says it is JSON, which no form can send.

A browser keeps the token for the page and does not send it by itself, as it would a cookie, so no foreign page can
make use of it.
"""

import hashlib
import hmac
import ipaddress
import math
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from auditsink.common.secret import Secret, parse_secret

SHORTEST_TOKEN = 16
"""Characters: with 64 to choose from, 96 bits."""
TRIES = 10
"""Wrong tokens that one address may send at once ..."""
TRY_SECONDS = 2.0
"""... and then one every so many seconds."""
_MOST_ADDRESSES = 1024
_KEY = secrets.token_bytes(32)


class Need(IntEnum):
    """What a request asks for; see the module."""

    PROBE = 0
    NUMBERS = 1
    CONTENT = 2
    CHANGE = 3


@dataclass(frozen=True, slots=True)
class AccessDenied:
    """The answer to a request that may not pass. `why` says what to do instead."""

    status: int
    why: str
    retry_after: int | None = None


_FOREIGN = AccessDenied(403, "a page from somewhere else may not ask this; open the sink's own page")
_NOT_JSON = AccessDenied(415, "send the header Content-Type: application/json")
_UNSET = AccessDenied(403, "no admin token is configured, so nothing can be changed from here; set admin.token_file")
_REMOTE = AccessDenied(
    403, "shows the audit trail, and this port listens to the network: set admin.token_file, or listen on 127.0.0.1"
)
_NO_TOKEN = AccessDenied(401, "send the admin token (admin.token_file) as Authorization: Bearer TOKEN")
_WRONG_TOKEN = AccessDenied(401, "this is not the admin token of admin.token_file")


def parse_token(content: bytes) -> Secret:
    """The token in a file. Raises ValueError, never with the token."""
    token = parse_secret(content)
    value = token.reveal()
    if len(value) < SHORTEST_TOKEN or not (value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(
            f"holds no token of at least {SHORTEST_TOKEN} printable ASCII characters; write the output of "
            "`openssl rand -hex 32` into it"
        )
    return token


class Access:
    """Decides for one listener. `token` gives the one in force; None: none is configured."""

    def __init__(self, *, loopback: bool, token: Callable[[], Secret] | None, now: Callable[[], float]) -> None:
        """`now`: monotonic seconds."""
        self.loopback = loopback
        self._token = token
        self._throttle = Throttle(now)

    @property
    def has_token(self) -> bool:
        """Whether one is configured."""
        return self._token is not None

    @property
    def content_open(self) -> bool:
        """Whether content is shown without a token."""
        return self._token is None and self.loopback

    def denied(self, need: Need, headers: Mapping[str, str], peer: str) -> AccessDenied | None:
        """Why this request may not pass, None if it may. `headers` have lower-case names."""
        if need >= Need.NUMBERS and (refusal := self._foreign(headers)):
            return refusal
        if need >= Need.CHANGE and headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _NOT_JSON
        return self._without_token(need, headers, peer) if need >= Need.CONTENT else None

    def _foreign(self, headers: Mapping[str, str]) -> AccessDenied | None:
        host = headers.get("host", "")
        if self.loopback and not _local(host):
            return AccessDenied(421, "this port serves its own machine: ask for it as 127.0.0.1, localhost or [::1]")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _FOREIGN
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} and not opened:
            return _FOREIGN
        return None

    def _without_token(self, need: Need, headers: Mapping[str, str], peer: str) -> AccessDenied | None:
        if self._token is None:
            if need is Need.CHANGE:
                return _UNSET
            return None if self.loopback else _REMOTE
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return _NO_TOKEN
        if wait := self._throttle.wait(peer):
            return AccessDenied(429, f"too many wrong tokens from here; try again in {wait} s", wait)
        if same(sent.strip(), self._token().reveal()):
            return None
        self._throttle.failed(peer)
        return _WRONG_TOKEN


def same(sent: str, token: str) -> bool:
    """Whether they are equal, in a time that says nothing of either, their lengths included."""
    mine, theirs = (hashlib.blake2b(one.encode("utf-8", "surrogateescape"), key=_KEY).digest() for one in (token, sent))
    return hmac.compare_digest(mine, theirs)


def _local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return False


class Throttle:
    """Counts wrong tokens by address: a bucket for each, the longest silent forgotten past a bound."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def failed(self, peer: str) -> None:
        """A wrong token came from there."""
        self._free_at[peer] = max(self._free_at.pop(peer, 0.0), self._now()) + TRY_SECONDS
        if len(self._free_at) > _MOST_ADDRESSES:
            self._free_at.popitem(last=False)

    def wait(self, peer: str) -> int:
        """Whole seconds until another try from there is looked at; 0 for now."""
        ahead = self._free_at.get(peer, 0.0) - self._now() - (TRIES - 1) * TRY_SECONDS
        return max(0, math.ceil(ahead))
