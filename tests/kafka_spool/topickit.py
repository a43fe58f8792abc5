"""Records of the topic for tests, made as a receiver makes them."""

from collections.abc import Sequence

from auditsink.audit.eventlist import Mark, Split, joined, split
from auditsink.kafka_spool.packing import Packer, Posted
from auditsink.kafka_spool.record import StoredRecord, decode
from auditsink.spool.keys import Keyring

SECOND = 10**9
EPOCH = 1_700_000_000 * SECOND


def body(cluster: str, number: int, events: int) -> bytes:
    """An EventList whose events say whose they are."""
    return joined(b'{"auditID":"%b-%d-%d"}' % (cluster.encode(), number, index) for index in range(events))


def posted(cluster: str, content: bytes, at_ns: int = EPOCH, source: str = "") -> Posted:
    """A request that nobody waits for."""
    found = split(content) if content.startswith(b"{") else Split([content], Mark.UNSPLIT)
    return Posted(cluster, content, found, source, at_ns, lambda _: None)


def packer(keys: Keyring | None = None) -> Packer:
    """With a fixed identity."""
    return Packer(keys, now_ns=lambda: EPOCH, entropy=lambda count: bytes(range(count)))


def stored(offset: int, *requests: Posted, keys: Keyring | None = None) -> StoredRecord:
    """The record that these requests share, as it is fetched."""
    packing = packer(keys)
    for one in requests:
        packing.digest(one)
    ((encoded, _),) = packing.pack(requests)
    return decode(offset, encoded.key, encoded.value, encoded.headers)


def fetched(offset: int, cluster: str, number: int, events: int, at_ns: int = EPOCH) -> StoredRecord:
    """One request in a record of its own."""
    return stored(offset, posted(cluster, body(cluster, number, events), at_ns))


def names(events: Sequence[bytes]) -> list[str]:
    """What they say."""
    return [event.decode().split('"')[3] for event in events]
