"""`spool: {type: kafka}`: a topic of Apache Kafka in the place of the rings on a disk; see docs/scale.md."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from auditsink.common.units import Duration
from auditsink.config.checks import whole
from auditsink.config.kafka import KafkaSecurity, broken_servers
from auditsink.config.section import Broken, Section

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")
SPOOL_TYPES = Literal["disk", "kafka"]
MOST_PARTITIONS = 10_000
LEAST_KEEP = 600
HEADROOM = 2**17
"""Bytes of a record beside the body, at most: what does not compress, and who sent it."""
SEGMENTS = 8
"""Of a full partition, at least."""
LEAST_SEGMENT = 2**20
MOST_SEGMENT = 2**29


def topic_segment_bytes(max_bytes: int, partitions: int, max_body: int) -> int:
    """Segments of the topic as it is made.

    Disk is freed by whole ones, so there are to be several in a partition; each holds a record at least.
    """
    share = max_bytes // (partitions * SEGMENTS)
    return max(min(share, MOST_SEGMENT), LEAST_SEGMENT, max_body + HEADROOM)


class SpoolTopic(Section, frozen=True, kw_only=True):
    """The keys of `spool` that only `type: kafka` has."""

    bootstrap_servers: list[str] = msgspec.field(default_factory=list)
    security: KafkaSecurity = KafkaSecurity()
    topic: str = "auditsink.spool"
    partitions: int = 12
    replication_factor: int = 3
    dead_letter_topic: str | None = None  # None: that of `topic` with .dead behind it
    keep: Duration = Duration(600)  # what all destinations have got stays for so long, if there is room
    accept_loss: bool = False  # start although the topic or its brokers may lose what was answered 200

    def broken_topic(self) -> Broken:
        """What makes no sense among these keys, once the spool is a topic."""
        yield from broken_servers(self.bootstrap_servers)
        if not _TOPIC.match(self.topic):
            yield "topic", "write up to 200 letters, digits, dots, dashes and underscores"
        if self.dead_letter_topic is not None and not _TOPIC.match(self.dead_letter_topic):
            yield "dead_letter_topic", "write up to 200 letters, digits, dots, dashes and underscores"
        if self.dead_letter_topic == self.topic:
            yield "dead_letter_topic", "is the same as topic; dead letters need one of their own"
        if self.keep < LEAST_KEEP:
            yield "keep", "must be at least 10m: for so long a retry is recognised by what lies in the topic"
        yield from whole("partitions", self.partitions, 1, MOST_PARTITIONS)
        yield from whole("replication_factor", self.replication_factor, 1, 100)
        if self.replication_factor < 2 and not self.accept_loss:
            yield "replication_factor", "one replica is lost with its broker; write 3, or accept_loss: true"

    @property
    def letters(self) -> str:
        """The topic of the dead letters."""
        return f"{self.topic}.dead" if self.dead_letter_topic is None else self.dead_letter_topic

    def plan_topic(self) -> Iterator[str]:
        """What a 200 means and what is kept, a sentence each."""
        yield "answers 200 for a batch when the brokers in sync have it (acks=all)"
        yield (
            f"keeps batches in topic {self.topic} of Kafka at {', '.join(self.bootstrap_servers)}; makes it with "
            f"{self.partitions} partitions and {self.replication_factor} replicas where it is missing"
        )
        yield f"deletes what all destinations have got after {self.keep}, and at once when the topic is nearly full"
        yield f"keeps dead letters in topic {self.letters}, with as many replicas"

    def risks_topic(self) -> Broken:
        """What may happen, and what to write instead."""
        if self.accept_loss:
            yield "accept_loss", "lets the sink start where a broker that fails may take answered batches along"
        yield from self.security.risks("security")
