"""Who may post, and for which cluster: bearer tokens, client certificates, or everybody.

Where identities are configured the credential names the cluster, and a path may only agree with it.
"""

from collections.abc import Callable
from typing import NamedTuple

from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.tokens import digest
from auditsink.receive.responses import HttpRejection, RejectionReason
from auditsink.receive.routes import Route, Routes

_NO_CREDENTIAL = HttpRejection(
    RejectionReason.UNAUTHORIZED, "send a bearer token, or a client certificate that names a cluster"
)
_NO_TOKEN = HttpRejection(RejectionReason.UNAUTHORIZED, "send a bearer token of receive.tokens_file")
_WRONG_TOKEN = HttpRejection(RejectionReason.UNAUTHORIZED, "this bearer token is not known here")
_STRANGER = HttpRejection(
    RejectionReason.FORBIDDEN, "the names in this client certificate are those of no cluster here"
)
_TWO = HttpRejection(
    RejectionReason.FORBIDDEN, "the credentials are those of different clusters; send one, or ones that agree"
)


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


class Authorizer:
    """Decides from a request's target and credentials. Everything here is asked for every request."""

    def __init__(self, path: str, cluster: str, roll: Callable[[], ClusterSet]) -> None:
        """`cluster` is meant where the path names none. `roll` gives the one in force."""
        self._routes = Routes(path, cluster)
        self._roll = roll

    def admit(self, target: bytes, authorization: bytes | None, peer: Peer) -> Admission | HttpRejection:
        """`peer` is what the client certificate says that TLS has verified, `NOBODY` without one."""
        route = self._routes.find(target)
        if isinstance(route, HttpRejection):
            return route
        roll = self._roll()
        if not roll.closed:
            # Any certificate of the client CA may name any cluster, and so may everybody where none is asked for.
            return Admission(route.cluster, f"cert:{peer.name}" if peer.name else "")
        cluster = _proven(roll, route, authorization, peer)
        if isinstance(cluster, HttpRejection):
            return cluster
        if route.named and route.cluster != cluster:
            return HttpRejection(
                RejectionReason.FORBIDDEN, f"you are cluster {cluster}; post without a name, or to that one"
            )
        return Admission(cluster, _source(cluster, authorization, peer))


def _proven(roll: ClusterSet, route: Route, authorization: bytes | None, peer: Peer) -> str | HttpRejection:
    """The cluster that the credentials stand for. Each that is shown must be good: none is passed over for another."""
    proven = roll.proven(peer.names)
    if authorization is not None:
        cluster = _by_token(roll, authorization)
        if isinstance(cluster, HttpRejection):
            return cluster
        proven.add(cluster)
    if len(proven) > 1:
        return _TWO
    if proven:
        return proven.pop()
    if roll.anonymous(route.cluster):
        return route.cluster
    return _STRANGER if peer.names and roll.clusters else _missing(roll)


def _by_token(roll: ClusterSet, authorization: bytes) -> str | HttpRejection:
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return _missing(roll)
    return roll.tokens.get(digest(token.strip()), _WRONG_TOKEN)


def _missing(roll: ClusterSet) -> HttpRejection:
    return _NO_CREDENTIAL if roll.clusters else _NO_TOKEN


def _source(cluster: str, authorization: bytes | None, peer: Peer) -> str:
    if peer.name:
        return f"cert:{peer.name}"
    return "" if authorization is None else f"token:{cluster}"
