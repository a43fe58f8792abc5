"""Who is who at one moment: every declared cluster and what follows from them together. Pure.

Clusters are entered one after the other. One that contradicts those before it is refused, with the reason, and changes
nothing for them: a file that somebody drops cannot take another's name, credential or room.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from auditsink.clusters.tokens import Tokens
from auditsink.config import Cluster
from auditsink.spool.shares import overbooked


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rest of the configuration allows. `unreserved`: bytes that nobody can reserve.

    `client_ca`: certificates are asked for. `topic`: the spool is one.
    """

    max_bytes: int
    unreserved: int
    max_clusters: int
    destinations: frozenset[str]
    client_ca: bool
    topic: bool = False


@dataclass(frozen=True, slots=True)
class ClusterSet:
    """`tokens` by digest, `certificates` by name as `config.Cluster.certificates` has it.

    `closed`: a request needs a credential, or the name of a cluster that is `anonymous`.
    """

    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=dict, repr=False)
    certificates: Mapping[str, str] = field(default_factory=dict)
    closed: bool = True

    @property
    def reserved(self) -> dict[str, int]:
        """Bytes, of the clusters that have a reservation."""
        return {name: one.reservation for name, one in self.clusters.items() if one.reservation}

    def proven(self, names: Iterable[str]) -> set[str]:
        """The clusters that a certificate with these names may post for: more than one is a contradiction."""
        return {self.certificates[name] for name in names if name in self.certificates}

    def anonymous(self, cluster: str) -> bool:
        """Whether anybody may post as this one."""
        found = self.clusters.get(cluster)
        return found is not None and found.anonymous


class Entries:
    """A cluster set in the making: clusters come and go."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._clusters: dict[str, Cluster] = {}
        self._tokens: dict[bytes, str] = {}
        self._certificates: dict[str, str] = {}
        self._reserved = 0

    def enter(self, cluster: Cluster, tokens: Tokens) -> str | None:
        """Add one with the tokens of its own; or why that cannot be, and it is left out: "key: sentence"."""
        problem = self._problem(cluster, tokens)
        if problem is None:
            self._clusters[cluster.name] = cluster
            self._tokens |= tokens
            self._certificates |= dict.fromkeys(cluster.certificates, cluster.name)
            self._reserved += cluster.reservation
        return problem

    def leave(self, cluster: Cluster, tokens: Tokens) -> None:
        """Take out one that was entered."""
        del self._clusters[cluster.name]
        for token in tokens:
            del self._tokens[token]
        for name in set(cluster.certificates):
            del self._certificates[name]
        self._reserved -= cluster.reservation

    def cluster_set(self) -> ClusterSet:
        """The cluster set of all that was entered."""
        return ClusterSet(dict(self._clusters), dict(self._tokens), dict(self._certificates))

    def _problem(self, cluster: Cluster, tokens: Tokens) -> str | None:
        return next(chain(self._contradicting(cluster, tokens), self._unfit(cluster)), None)

    def _unfit(self, cluster: Cluster) -> Iterator[str]:
        """What the rest of the configuration does not allow."""
        bounds = self._bounds
        if len(self._clusters) >= bounds.max_clusters:
            yield f"name: is one more than receive.max_clusters ({bounds.max_clusters}) allows; raise it"
        if unknown := set(cluster.destinations or ()) - bounds.destinations:
            yield f"destinations: there is none called {min(unknown)!r}; write names of destinations"
        if cluster.certificates and not bounds.client_ca:
            yield "certificates: nobody is asked for one; set receive.tls.client_ca_file"
        if bounds.topic and cluster.destinations is not None:
            yield (
                "destinations: cannot be kept with spool.type: kafka, where nobody remembers it once the cluster is "
                "declared no longer; remove it, or use a topic and sinks of their own"
            )
        reserved = self._reserved + cluster.reservation
        what = "one segment of each partition" if bounds.topic else "one segment"
        if cluster.reservation and (why := overbooked(bounds.max_bytes, bounds.unreserved, reserved, what)):
            yield f"reservation: {why}"

    def _contradicting(self, cluster: Cluster, tokens: Tokens) -> Iterator[str]:
        """What another cluster has already."""
        if cluster.name in self._clusters:
            yield "name: another cluster is declared under this name already; rename or remove one of the two"
        for name in cluster.certificates:
            if name in self._certificates:
                yield f"certificates: {name} is that of cluster {self._certificates[name]} already; it must name one"
        if taken := {self._tokens[token] for token in tokens if token in self._tokens}:
            yield f"tokens: one is a token of cluster {min(taken)} too; a token must name one cluster"
