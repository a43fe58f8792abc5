"""Hypothesis drives a spool on a disk that forgets, against a model that is a dictionary.

After any crash every acknowledged event is there, at the sequence that its sender was told, and reading goes through
them in order; what was never acknowledged may be there or not. With `drop_oldest` the missing ones are the oldest and
are counted. After a crash in the middle of a write the sender repeats what it got no answer for, as an apiserver does.
Commits are made by the writer's thread alone, or, where they are small, by the loop.
"""

import base64
import errno
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from spoolkit import body_of, die, open_looping, open_spool, submit_all, submit_together

from auditsink.config import Encryption
from auditsink.spool import Spool, SpoolError
from auditsink.spool.ring import Ring
from auditsink.spool.types import Receipt, SpoolRejection, Tally
from auditsink.testing.disk import FakeDisk

DESTINATIONS = ("siem", "lake")
CLUSTERS = ("blue", "green")
MAX_BYTES = 2**19
SIZES = st.lists(st.integers(1, 6000), min_size=1, max_size=6)
CLUSTER = st.sampled_from(CLUSTERS)
CHANCE = st.integers(0, 2**20).map(random.Random)  # drawn from in the writer's thread, so not Hypothesis' own

Post = Callable[[Spool, Ring, list[bytes]], list[Receipt | SpoolRejection]]


def stored(ring: Ring, position: int) -> Iterator[tuple[int, bytes]]:
    """All that is read from `position` on, with its sequences."""
    reader = ring.reader()
    while position < ring.durable:
        chunk = reader.read(position, 50_000)
        assert chunk.start == position < chunk.end
        for record in chunk.records:
            assert record.first_sequence >= position, "in order"
            yield from enumerate(record.events, record.first_sequence)
            position = record.first_sequence + len(record.events)
        position = chunk.end
    reader.close()


class SpoolMachine(RuleBasedStateMachine):
    """Append, read, move cursors, break the disk, crash, start again."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FakeDisk()
        self.number = 0
        self.keys: list[str] = []
        self.directory = tempfile.TemporaryDirectory()
        self.key_file = Path(self.directory.name) / "spool.keys"
        self.sent: dict[str, list[bytes]] = {cluster: [] for cluster in CLUSTERS}
        self.acknowledged: dict[str, dict[int, bytes]] = {cluster: {} for cluster in CLUSTERS}

    @initialize(when_full=st.sampled_from(["reject", "drop_oldest"]), encrypt=st.booleans(), by_loop=st.booleans())
    def begin(self, when_full: str, encrypt: bool, by_loop: bool) -> None:
        self.when_full = when_full
        self.opened = open_looping if by_loop else open_spool
        self.encryption = Encryption(key_file=self.key_file) if encrypt else None
        self.change_keys()
        self._open()

    def _open(self) -> None:
        self.spool = self.opened(
            self.disk, when_full=self.when_full, max_bytes=MAX_BYTES, segment_bytes=2**15, encryption=self.encryption
        )
        self.disk.heal()
        for cluster in CLUSTERS:
            for destination in DESTINATIONS:
                self.spool.ring(cluster).cursor(destination)

    def _bodies(self, sizes: list[int]) -> list[bytes]:
        bodies = []
        for size in sizes:
            self.number += 1
            bodies.append(body_of(f"{self.number}-{random.Random(self.number).randbytes(size).hex()}"))
        return bodies

    def _submit(self, cluster: str, bodies: list[bytes], post: Post = submit_all) -> list[bytes]:
        """Post the bodies; returns those that were refused."""
        self.sent[cluster] += bodies
        answers = post(self.spool, self.spool.ring(cluster), bodies)
        known = self.acknowledged[cluster]
        for body, answer in zip(bodies, answers, strict=True):
            if isinstance(answer, Receipt):
                event = body[body.index(b"[") + 1 : body.rindex(b"]")]
                assert known.setdefault(answer.first_sequence, event) == event, "no sequence is given out twice"
        return [body for body, answer in zip(bodies, answers, strict=True) if not isinstance(answer, Receipt)]

    @rule()
    def change_keys(self) -> None:
        name = f"key-{len(self.keys)}"
        key = base64.b64encode(random.Random(name).randbytes(32)).decode()
        self.keys.insert(0, f"{name} {key}\n")
        self.key_file.write_text("".join(self.keys))

    @rule(cluster=CLUSTER, sizes=SIZES, post=st.sampled_from([submit_all, submit_together]))
    def append(self, cluster: str, sizes: list[int], post: Post) -> None:
        self._submit(cluster, self._bodies(sizes), post)

    @rule(cluster=CLUSTER, share=st.floats(0, 1, exclude_max=True))
    def repeat(self, cluster: str, share: float) -> None:
        bodies = self.sent[cluster]
        if bodies:
            self._submit(cluster, [bodies[int(share * len(bodies))]])

    @rule(cluster=CLUSTER, sizes=SIZES, calls=st.integers(0, 12), chance=CHANCE, machine=st.booleans())
    def stop_in_the_middle(
        self, cluster: str, sizes: list[int], calls: int, chance: random.Random, machine: bool
    ) -> None:
        bodies = self._bodies(sizes)
        self.disk.cut_power(calls, chance if machine else None)
        refused = self._submit(cluster, bodies)
        die(self.spool, self.disk)
        self._open()
        self._submit(cluster, refused)

    @rule(
        operation=st.sampled_from(
            ["write", "sync", "allocate", "create", "truncate", "unlink", "sync_directory", "open"]
        ),
        error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS, errno.EINTR]),
        times=st.integers(1, 3),
    )
    def break_disk(self, operation: str, error: int, times: int) -> None:
        self.disk.fail(operation, error, times)

    @rule(room=st.integers(0, 2**17))
    def fill_disk(self, room: int) -> None:
        self.disk.capacity = self.disk.allocated() + room

    @rule(short=st.booleans())
    def heal(self, short: bool) -> None:
        self.disk.heal()
        self.disk.short_writes = short

    @rule(cluster=CLUSTER, destination=st.sampled_from(DESTINATIONS), share=st.floats(0, 1))
    def deliver(self, cluster: str, destination: str, share: float) -> None:
        ring = self.spool.ring(cluster)
        cursor = ring.cursor(destination)
        self.disk.heal()
        reader = ring.reader()
        chunk = reader.read(cursor.position, 20_000)
        reader.close()
        count = sum(len(record.events) for record in chunk.records)
        if share < 1 and not chunk.missing:
            cursor.advance(Tally(delivered=int(count * share)))
        else:
            cursor.advance(Tally(delivered=count, dropped=chunk.missing))

    @rule(cluster=CLUSTER, destination=st.sampled_from(DESTINATIONS))
    def sync_cursor(self, cluster: str, destination: str) -> None:
        self.disk.heal()
        self.spool.ring(cluster).cursor(destination).sync()

    @rule(chance=CHANCE, machine=st.booleans())
    def stop_without_warning(self, chance: random.Random, machine: bool) -> None:
        self.disk.cut_power(0, chance if machine else None)
        die(self.spool, self.disk)
        self._open()

    @rule()
    def restart(self) -> None:
        self.disk.heal()
        self.spool.stop()
        assert self.disk.open_files == 0, "a stopped spool holds no file"
        self._open()

    @rule(
        chance=CHANCE,
        operation=st.sampled_from(["write", "sync", "truncate", "unlink", "rename", "sync_directory", "open", "read"]),
        before=st.integers(0, 6),
    )
    def start_on_a_bad_disk(self, chance: random.Random, operation: str, before: int) -> None:
        """A start may fail, with a sentence; the next one finds everything."""
        self.disk.cut_power(0, chance)
        die(self.spool, self.disk)
        self.disk.fail_later(operation, errno.EIO, before)
        try:
            self._open()
        except SpoolError:
            assert self.disk.open_files == 0, "a start that failed holds no file"
            self.disk.heal()
            self._open()

    @precondition(lambda self: hasattr(self, "spool"))
    @invariant()
    def everything_acknowledged_is_there(self) -> None:
        self.disk.heal()
        for cluster in CLUSTERS:
            ring = self.spool.ring(cluster)
            found = dict(stored(ring, ring.floor))
            wanted = {at: event for at, event in self.acknowledged[cluster].items() if at >= ring.floor}
            assert {at: found.get(at) for at in wanted} == wanted
            assert set(found.values()) <= {event for body in self.sent[cluster] for event in events_in(body)}
            for name in DESTINATIONS:
                position = max(ring.cursor(name).position, ring.floor)
                assert dict(stored(ring, position)) == {at: event for at, event in found.items() if at >= position}
            if self.when_full == "reject":
                consumed = min(ring.cursor(name).position for name in DESTINATIONS)
                assert ring.floor <= consumed, "what somebody still wants is held"

    @precondition(lambda self: hasattr(self, "spool"))
    @invariant()
    def the_accounts_add_up(self) -> None:
        for cluster in CLUSTERS:
            ring = self.spool.ring(cluster)
            assert ring.durable - ring.floor >= 0
            for name in DESTINATIONS:
                account = ring.account(ring.cursor(name))
                parts = (account.delivered, account.filtered, account.dead_lettered, account.dropped, account.pending)
                assert account.accepted == sum(parts)
                assert min(parts) >= 0

    @precondition(lambda self: hasattr(self, "spool"))
    @invariant()
    def the_limit_holds(self) -> None:
        assert sum(ring.size for ring in self.spool.rings.values()) <= MAX_BYTES
        on_disk = sum(len(self.disk.content(path)) for path in self.disk.paths() if path.suffix == ".seg")
        assert on_disk <= MAX_BYTES, "and what is counted is what is there"

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.disk.heal()
            self.spool.stop()
            assert self.disk.open_files == 0
        self.directory.cleanup()


def events_in(body: bytes) -> list[bytes]:
    return [body[body.index(b"[") + 1 : body.rindex(b"]")]]


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
