"""Who may post, and for which cluster: bearer tokens, client certificates, or everybody.

A request target means a cluster: `{path}` the default one, `{path}/{cluster}` the one it names. Where identities are
configured the credential names the cluster, and a path may only agree with it. Pure.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.tokens import digest
from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.receive.responses import HttpRejection, RejectionReason

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
_KEPT = 1024
"""Targets that are remembered; a client that invents more makes us look closely again."""
_AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


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


class Route(NamedTuple):
    """`cluster` is whose events these are; `named` says that the target named it."""

    cluster: str
    named: bool


class Routes:
    """Finds routes and remembers them: every apiserver sends the same target for ever."""

    def __init__(self, path: str, default: str) -> None:
        self._path = path.rstrip("/")
        self._default = Route(default, named=False)
        self._known: dict[bytes, Route | HttpRejection] = {}

    def find(self, target: bytes) -> Route | HttpRejection:
        """`target` is what llhttp took for one."""
        found = self._known.get(target)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[target] = self._look(target.decode("latin-1"))
        return found

    def _look(self, target: str) -> Route | HttpRejection:
        # RFC 9112, 3.2.2: a server takes the absolute form too. kube-apiserver adds ?timeout=30s.
        path = _AUTHORITY.sub("", target, count=1).partition("?")[0]
        if path == self._path or (path == "/" and not self._path):
            return self._default
        prefix = self._path + "/"
        if not path.startswith(prefix):
            return HttpRejection(
                RejectionReason.NOT_FOUND, f"nothing is here; post to {self._path or '/'} or {prefix}CLUSTER"
            )
        cluster = path[len(prefix) :]
        if not CLUSTER.match(cluster):
            return HttpRejection(RejectionReason.NOT_FOUND, f"no cluster can have this name; {CLUSTER_RULE}")
        return Route(cluster, named=True)


class Authorizer:
    """Decides from a request's target and credentials. Everything here is asked for every request."""

    def __init__(self, path: str, cluster: str, cluster_set: Callable[[], ClusterSet]) -> None:
        """`cluster` is meant where the path names none. `cluster_set` gives the one in force."""
        self._routes = Routes(path, cluster)
        self.cluster_set = cluster_set

    def admit(self, target: bytes, authorization: bytes | None, peer: Peer) -> Admission | HttpRejection:
        """`peer` is what the client certificate says that TLS has verified, `NOBODY` without one."""
        route = self._routes.find(target)
        if isinstance(route, HttpRejection):
            return route
        cluster_set = self.cluster_set()
        if not cluster_set.closed:
            # Any certificate of the client CA may name any cluster, and so may everybody where none is asked for.
            return Admission(route.cluster, f"cert:{peer.name}" if peer.name else "")
        cluster = _proven(cluster_set, route, authorization, peer)
        if isinstance(cluster, HttpRejection):
            return cluster
        if route.named and route.cluster != cluster:
            return HttpRejection(
                RejectionReason.FORBIDDEN, f"you are cluster {cluster}; post without a name, or to that one"
            )
        return Admission(cluster, _source(cluster, authorization, peer))


def _proven(cluster_set: ClusterSet, route: Route, authorization: bytes | None, peer: Peer) -> str | HttpRejection:
    """The cluster that the credentials stand for. Each that is shown must be good: none is passed over for another."""
    proven = cluster_set.proven(peer.names)
    if authorization is not None:
        cluster = _by_token(cluster_set, authorization)
        if isinstance(cluster, HttpRejection):
            return cluster
        proven.add(cluster)
    if len(proven) > 1:
        return _TWO
    if proven:
        return proven.pop()
    if cluster_set.anonymous(route.cluster):
        return route.cluster
    return _STRANGER if peer.names and cluster_set.clusters else _missing(cluster_set)


def _by_token(cluster_set: ClusterSet, authorization: bytes) -> str | HttpRejection:
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return _missing(cluster_set)
    return cluster_set.tokens.get(digest(token.strip()), _WRONG_TOKEN)


def _missing(cluster_set: ClusterSet) -> HttpRejection:
    return _NO_CREDENTIAL if cluster_set.clusters else _NO_TOKEN


def _source(cluster: str, authorization: bytes | None, peer: Peer) -> str:
    if peer.name:
        return f"cert:{peer.name}"
    return "" if authorization is None else f"token:{cluster}"
