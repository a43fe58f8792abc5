"""Hypothesis drives a spool on a disk that forgets, against a model that is a list.

After any crash every acknowledged batch is there, once, in order, from every cursor; what was never acknowledged may be
there or not. With `drop_oldest` the missing ones are the oldest and are counted.
"""

import errno
import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from spoolkit import PATH, body_of, events_of, open_spool, submit_all

from auditsink.spool import inspect
from auditsink.spool.types import Receipt, Tally
from auditsink.testing.disk import FakeDisk

DESTINATIONS = ("siem", "lake")
CLUSTERS = ("blue", "green")


class SpoolMachine(RuleBasedStateMachine):
    """Append, read, move cursors, break the disk, crash, start again."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FakeDisk()
        self.number = 0
        self.acknowledged: dict[str, list[str]] = {cluster: [] for cluster in CLUSTERS}
        self.uncertain: dict[str, set[str]] = {cluster: set() for cluster in CLUSTERS}

    @initialize(when_full=st.sampled_from(["reject", "drop_oldest"]))
    def begin(self, when_full: str) -> None:
        self.when_full = when_full
        self._open()

    def _open(self) -> None:
        self.spool = open_spool(self.disk, when_full=self.when_full, max_bytes=2**19, segment_bytes=2**15)
        for cluster in CLUSTERS:
            for destination in DESTINATIONS:
                self.spool.ring(cluster).cursor(destination)

    @rule(cluster=st.sampled_from(CLUSTERS), sizes=st.lists(st.integers(1, 6000), min_size=1, max_size=6))
    def append(self, cluster: str, sizes: list[int]) -> None:
        names = []
        for size in sizes:
            self.number += 1
            names.append(f"{self.number}-{random.Random(self.number).randbytes(size).hex()}")
        answers = submit_all(self.spool, self.spool.ring(cluster), [body_of(name) for name in names])
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, Receipt):
                self.acknowledged[cluster].append(name)
            else:
                self.uncertain[cluster].add(name)

    @rule(
        operation=st.sampled_from(["write", "sync", "allocate", "create", "truncate", "unlink", "sync_directory"]),
        error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS]),
        times=st.integers(1, 3),
    )
    def break_disk(self, operation: str, error: int, times: int) -> None:
        self.disk.fail(operation, error, times)

    @rule(short=st.booleans())
    def heal(self, short: bool) -> None:
        self.disk.heal()
        self.disk.short_writes = short

    @rule(cluster=st.sampled_from(CLUSTERS), destination=st.sampled_from(DESTINATIONS), share=st.floats(0, 1))
    def deliver(self, cluster: str, destination: str, share: float) -> None:
        ring = self.spool.ring(cluster)
        cursor = ring.cursor(destination)
        self.disk.heal()
        chunk = ring.reader().load(cursor.position, 20_000)
        events = [event for record in chunk.records for event in record.events]
        if share < 1 and not chunk.missing:
            delivered = int(len(events) * share)
            cursor.advance(Tally(delivered=delivered))
        else:
            cursor.advance(Tally(delivered=len(events), dropped=chunk.missing))

    @rule(chance=st.randoms(use_true_random=False))
    def lose_power(self, chance: random.Random) -> None:
        self.disk.crash(chance)
        self._open()

    @rule()
    def kill(self) -> None:
        self.disk.kill()
        self._open()

    @rule()
    def restart(self) -> None:
        self.disk.heal()
        self.spool.stop()
        self._open()

    @precondition(lambda self: hasattr(self, "spool"))
    @invariant()
    def everything_acknowledged_is_there(self) -> None:
        self.disk.heal()
        for cluster in CLUSTERS:
            ring = self.spool.ring(cluster)
            found = []
            reader, position = ring.reader(), ring.floor
            while position < ring.durable:
                chunk = reader.load(position, 50_000)
                assert chunk.missing == 0, "no gap in what is held"
                found += [event for record in chunk.records for event in record.events]
                position = chunk.end
            expected = events_of(*self.acknowledged[cluster])
            known = set(expected)
            strangers = set(found) - known
            assert strangers <= set(events_of(*self.uncertain[cluster])), "only what was sent"
            held = [event for event in found if event in known]
            assert held == expected[len(expected) - len(held) :], "in order, once, and nothing but the oldest missing"
            if self.when_full == "reject":
                consumed = min(ring.cursor(name).position for name in DESTINATIONS)
                assert ring.floor <= consumed, "what somebody still wants is held"
            if ring.floor == 0:
                assert len(held) == len(expected)

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
        assert sum(ring.size for ring in self.spool.rings.values()) <= 2**19

    def teardown(self) -> None:
        if hasattr(self, "spool"):
            self.disk.heal()
            self.spool.stop()
            for cluster in CLUSTERS:
                assert inspect.verify(PATH, cluster, self.disk).problems == []


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
