"""Who may post, and for which cluster: bearer tokens, client certificates, or everybody.

Where identities are configured the credential names the cluster, and a path may only agree with it.
"""

from collections.abc import Callable
from typing import NamedTuple

from auditsink.clusters.roll import Roll
from auditsink.clusters.tokens import digest
from auditsink.receive.answers import Reason, Refused
from auditsink.receive.routes import Route, Routes

_NO_CREDENTIAL = Refused(Reason.UNAUTHORIZED, "send a bearer token, or a client certificate that names a cluster")
_NO_TOKEN = Refused(Reason.UNAUTHORIZED, "send a bearer token of receive.tokens_file")
_WRONG_TOKEN = Refused(Reason.UNAUTHORIZED, "this bearer token is not known here")
_STRANGER = Refused(Reason.FORBIDDEN, "the names in this client certificate are those of no cluster here")
_TWO = Refused(Reason.FORBIDDEN, "the credentials are those of different clusters; send one, or ones that agree")


class Peer(NamedTuple):
    """What a client certificate proves: `name` for people, `names` as `config.Cluster.certificates` has them."""

    name: str = ""
    names: tuple[str, ...] = ()


NOBODY = Peer()
"""No certificate was shown."""


class Admission(NamedTuple):
    """Where a request's events belong, and the identity that was proven: "cert:NAME", "token:CLUSTER" or ""."""

    cluster: str
    source: str


class Gate:
    """Decides from a request's target and credentials. Everything here is asked for every request."""

    def __init__(self, path: str, cluster: str, roll: Callable[[], Roll]) -> None:
        """`cluster` is meant where the path names none. `roll` gives the one in force."""
        self._routes = Routes(path, cluster)
        self._roll = roll

    def admit(self, target: bytes, authorization: bytes | None, peer: Peer) -> Admission | Refused:
        """`peer` is what the client certificate says that TLS has verified, `NOBODY` without one."""
        route = self._routes.find(target)
        if isinstance(route, Refused):
            return route
        roll = self._roll()
        if not roll.closed:
            # Any certificate of the client CA may name any cluster, and so may everybody where none is asked for.
            return Admission(route.cluster, f"cert:{peer.name}" if peer.name else "")
        cluster = _proven(roll, route, authorization, peer)
        if isinstance(cluster, Refused):
            return cluster
        if route.named and route.cluster != cluster:
            return Refused(Reason.FORBIDDEN, f"you are cluster {cluster}; post without a name, or to that one")
        return Admission(cluster, _source(cluster, authorization, peer))


def _proven(roll: Roll, route: Route, authorization: bytes | None, peer: Peer) -> str | Refused:
    """The cluster that the credentials stand for. Each that is shown must be good: none is passed over for another."""
    proven = roll.proven(peer.names)
    if authorization is not None:
        cluster = _by_token(roll, authorization)
        if isinstance(cluster, Refused):
            return cluster
        proven.add(cluster)
    if len(proven) > 1:
        return _TWO
    if proven:
        return proven.pop()
    if roll.anonymous(route.cluster):
        return route.cluster
    return _STRANGER if peer.names and roll.clusters else _missing(roll)


def _by_token(roll: Roll, authorization: bytes) -> str | Refused:
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return _missing(roll)
    return roll.tokens.get(digest(token.strip()), _WRONG_TOKEN)


def _missing(roll: Roll) -> Refused:
    return _NO_CREDENTIAL if roll.clusters else _NO_TOKEN


def _source(cluster: str, authorization: bytes | None, peer: Peer) -> str:
    if peer.name:
        return f"cert:{peer.name}"
    return "" if authorization is None else f"token:{cluster}"
