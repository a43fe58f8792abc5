"""Who may post, and for which cluster: bearer tokens, client certificates, or everybody.

Tokens are looked up by a digest that is keyed with a random key of this process. The key makes the time of the lookup
say nothing about any token: nobody outside can know, let alone steer, how the digest of a guess compares with the
digests that are stored, so there is no "nearly right" to be measured. Only digests are held.
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import NamedTuple

from auditsink.cluster import CLUSTER, CLUSTER_RULE
from auditsink.receive.answers import Reason, Refused
from auditsink.receive.routes import Route, Routes

_KEY = secrets.token_bytes(32)
_LINE = 'write "cluster token", one pair a line'
_NO_TOKEN = Refused(Reason.UNAUTHORIZED, "send a bearer token of receive.tokens_file")
_WRONG_TOKEN = Refused(Reason.UNAUTHORIZED, "this bearer token is not known here")


class Admission(NamedTuple):
    """Where a request's events belong, and the identity that was proven: "cert:NAME", "token:CLUSTER" or ""."""

    cluster: str
    source: str


def _digest(token: bytes) -> bytes:
    return hashlib.blake2b(token, key=_KEY, digest_size=32).digest()


class Tokens:
    """The tokens of a file, as digests."""

    def __init__(self, clusters: dict[bytes, str]) -> None:
        self._clusters = clusters

    def __repr__(self) -> str:
        return f"<Tokens of {len(set(self._clusters.values()))} clusters>"

    def cluster(self, token: bytes) -> str | None:
        """The cluster that the token stands for."""
        return self._clusters.get(_digest(token))


def parse_tokens(content: bytes) -> Tokens:
    """Read `cluster token` lines; `#` begins a comment line. Raises ValueError with the line and never the token."""
    found: dict[bytes, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        if len(words) != 2:
            raise ValueError(f"line {number} has {len(words)} words; {_LINE}")
        cluster = words[0].decode("latin-1")
        if not CLUSTER.match(cluster):
            raise ValueError(f"line {number} begins with no cluster's name; {CLUSTER_RULE}")
        if not (words[1].isascii() and words[1].decode().isprintable()):
            raise ValueError(f"line {number} has a token that no header can carry; use printable ASCII")
        if found.setdefault(_digest(words[1]), cluster) != cluster:
            raise ValueError(f"line {number} repeats another cluster's token; a token must name one cluster")
    if not found:
        raise ValueError(f"holds no token; {_LINE}")
    return Tokens(found)


class Gate:
    """Decides from a request's target and credentials. Everything here is asked for every request."""

    def __init__(self, path: str, cluster: str, tokens: Callable[[], Tokens] | None) -> None:
        """`cluster` is meant where the path names none. `tokens` gives the ones in force, None when none are asked."""
        self._routes = Routes(path, cluster)
        self._tokens = tokens

    def admit(self, target: bytes, authorization: bytes | None, certificate: str) -> Admission | Refused:
        """`certificate` is the name in the client certificate that TLS has verified, "" without one."""
        route = self._routes.find(target)
        if isinstance(route, Refused):
            return route
        if self._tokens is not None:
            return _by_token(self._tokens(), route, authorization, certificate)
        # The one place that will ask which clusters a certificate may speak for. Until then any that the client CA
        # signed may name any cluster, and so may everybody where no certificate is asked for.
        return Admission(route.cluster, f"cert:{certificate}" if certificate else "")


def _by_token(tokens: Tokens, route: Route, authorization: bytes | None, certificate: str) -> Admission | Refused:
    scheme, _, token = (authorization or b"").partition(b" ")
    if scheme.lower() != b"bearer":
        return _NO_TOKEN
    cluster = tokens.cluster(token.strip())
    if cluster is None:
        return _WRONG_TOKEN
    if route.named and route.cluster != cluster:
        return Refused(Reason.FORBIDDEN, f"this token is for cluster {cluster}; post without a name, or to that one")
    return Admission(cluster, f"cert:{certificate}" if certificate else f"token:{cluster}")
