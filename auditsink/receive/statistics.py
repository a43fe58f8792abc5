"""What the receive port says of itself, as plain values for whoever renders them; and the counters behind them."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from auditsink.receive.responses import RejectionReason

ACK_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds from a request's last byte to its answer: from an idle disk to the apiserver's patience."""


@dataclass(slots=True)
class ClusterStatistics:
    """One cluster since the start of the process.

    `requests`: batches that were answered 200. `batches`: those that were stored, with the `events` in them and the
    `bytes` of their bodies, unpacked. `duplicates`: the others, repetitions. An empty list counts nowhere. `unsplit`:
    those of the stored ones that could not be split into their events.
    """

    requests: int = 0
    batches: int = 0
    events: int = 0
    bytes: int = 0
    duplicates: int = 0
    unsplit: int = 0


STREAK_SECONDS = 60.0
"""Refusals of one kind that are no further apart belong together: an apiserver comes back within half a minute."""
MOST_PEERS = 8
"""Addresses that are remembered for each kind of refusal."""


@dataclass(slots=True)
class Refusals:
    """Refused requests of one kind that followed each other: from when to when, how many, and by whose addresses.

    Times are nanoseconds since the epoch. `sentence` is what the last one was told, `peer` who that was, with its port,
    and `path` where it posted to; "" for what is not known.
    """

    since_ns: int
    last_ns: int
    count: int = 0
    sentence: str = ""
    peers: dict[str, int] = field(default_factory=dict)
    peer: str = ""
    path: str = ""

    def add(self, now_ns: int, sentence: str, peer: str, path: str) -> None:
        """One more; `peer` is host:port."""
        self.last_ns = now_ns
        self.count += 1
        self.sentence, self.peer, self.path = sentence, peer, path
        address = peer.rpartition(":")[0]
        if address in self.peers or len(self.peers) < MOST_PEERS:
            self.peers[address] = self.peers.get(address, 0) + 1


@dataclass(frozen=True, slots=True)
class ReceiveStatistics:
    """One moment of the receive port; the counts run since the start of the process.

    `requests`: all that got an answer, whatever it was; `batches`, `events`, `bytes` and `duplicates` are sums over
    `clusters`. `rejected`: refused requests by reason (`RejectionReason`), zeros included. `ack_counts[i]`: answers of
    200 within `ACK_BUCKETS[i]` seconds of the request's last byte (the last one: all longer ones), `ack_seconds` their
    sum. `connections`: open now. `in_flight_bytes`: what `receive.max_in_flight` limits. `problems`: sentences for the
    operator about files that could not be read again; the last good ones are in use. `refusals`: the last row of each
    reason, over or not.
    """

    requests: int
    batches: int
    events: int
    bytes: int
    duplicates: int
    rejected: Mapping[str, int]
    ack_counts: tuple[int, ...]
    ack_seconds: float
    clusters: Mapping[str, ClusterStatistics] = field(default_factory=dict)
    connections: int = 0
    in_flight_bytes: int = 0
    problems: tuple[str, ...] = ()
    refusals: Mapping[str, Refusals] = field(default_factory=dict)

    @property
    def unsplit(self) -> int:
        """Stored batches that could not be split into their events."""
        return sum(one.unsplit for one in self.clusters.values())


@dataclass(slots=True)
class ReceiveCounters:
    """What is counted while requests pass; belongs to the loop's thread."""

    requests: int = 0
    clusters: dict[str, ClusterStatistics] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=lambda: dict.fromkeys(map(str, RejectionReason), 0))
    ack_counts: list[int] = field(default_factory=lambda: [0] * (len(ACK_BUCKETS) + 1))
    ack_seconds: float = 0.0
    refusals: dict[str, Refusals] = field(default_factory=dict)

    def refused(self, reason: RejectionReason, now_ns: int, sentence: str, peer: str, path: str = "") -> None:
        """A request was refused, or a handshake; `peer` is host:port, `path` that of the request."""
        self.rejected[reason] += 1
        row = self.refusals.get(reason)
        if row is None or not 0 <= now_ns - row.last_ns <= STREAK_SECONDS * 1e9:
            row = self.refusals[reason] = Refusals(now_ns, now_ns)
        row.add(now_ns, sentence, peer, path)

    def cluster(self, name: str) -> ClusterStatistics:
        """The counters of one cluster. Call it only for clusters that have a ring: their number is bounded."""
        found = self.clusters.get(name)
        if found is None:
            found = self.clusters[name] = ClusterStatistics()
        return found

    def acknowledged(self, seconds: float) -> None:
        """An answer of 200 took that long."""
        self.ack_counts[bisect_left(ACK_BUCKETS, seconds)] += 1
        self.ack_seconds += seconds

    def read(self, *, connections: int, in_flight_bytes: int, problems: tuple[str, ...]) -> ReceiveStatistics:
        """A copy that no longer changes."""
        clusters = {name: replace(one) for name, one in self.clusters.items() if one.requests}
        return ReceiveStatistics(
            requests=self.requests,
            batches=sum(one.batches for one in clusters.values()),
            events=sum(one.events for one in clusters.values()),
            bytes=sum(one.bytes for one in clusters.values()),
            duplicates=sum(one.duplicates for one in clusters.values()),
            rejected=dict(self.rejected),
            ack_counts=tuple(self.ack_counts),
            ack_seconds=self.ack_seconds,
            clusters=clusters,
            connections=connections,
            in_flight_bytes=in_flight_bytes,
            problems=problems,
            refusals={reason: replace(row, peers=dict(row.peers)) for reason, row in self.refusals.items()},
        )


NOTHING_RECEIVED = ReceiveCounters().read(connections=0, in_flight_bytes=0, problems=())
"""Of a sink without a receive port."""
