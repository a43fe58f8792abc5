"""`type: kafka`: Apache Kafka and what speaks its protocol."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from auditsink.common.secret import Secret
from auditsink.config.checks import address, not_both
from auditsink.config.client import ClientTls
from auditsink.config.destination import DestinationSection
from auditsink.config.section import Broken, Section

_TOPIC = re.compile(r"(?:[A-Za-z0-9._-]|\{cluster\})+\Z")
_TRANSACTIONAL_ID = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")


class KafkaSecurity(Section, frozen=True, kw_only=True):
    """How to get in: TLS, SASL, both or neither."""

    tls: ClientTls | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from not_both(self, "password", "password_file")
        has_password = self.password is not None or self.password_file is not None
        if self.mechanism and not self.username:
            yield "username", f"is missing; {self.mechanism} needs it"
        if self.mechanism and not has_password:
            yield "password_file", f"is missing; {self.mechanism} needs it (or password)"
        if not self.mechanism and (self.username or has_password):
            yield "mechanism", "is missing; write PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"

    def risks(self, key: str) -> Broken:
        """What may happen; `key` is where this section stands."""
        if self.tls is None:
            yield f"{key}.tls", "is not set, so events and passwords travel in the clear"
        else:
            yield from self.tls.risks(f"{key}.tls")


def broken_servers(servers: Sequence[str]) -> Broken:
    """What is wrong with `bootstrap_servers`, wherever the key stands."""
    if not servers:
        yield "bootstrap_servers", "is missing; write at least one host:port"
    for place, server in enumerate(servers):
        yield from address(f"bootstrap_servers[{place}]", server)


class KafkaConfig(DestinationSection, frozen=True, kw_only=True, tag="kafka"):
    """Apache Kafka: idempotent, acks=all, key = cluster."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.kafka:KafkaDestination"
    EXTRA: ClassVar[str] = "kafka"

    bootstrap_servers: list[str]
    topic: str = "audit.{cluster}"
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    transactional_id: str | None = None  # not None: each Kafka batch is a transaction, together with the cursor
    security: KafkaSecurity = KafkaSecurity()

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from broken_servers(self.bootstrap_servers)
        if not _TOPIC.match(self.topic):
            yield "topic", "write letters, digits, dots, dashes, underscores and {cluster}"
        if self.transactional_id is not None:
            if not _TRANSACTIONAL_ID.match(self.transactional_id):
                wanted = "write 1 to 200 letters, digits, dots, dashes and underscores, one for each sink"
                yield "transactional_id", wanted
            if self.in_flight not in (None, 1):
                yield "in_flight", "must be 1 with transactional_id: a producer has one transaction at a time"
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        once = f", in transactions of {self.transactional_id}" if self.transactional_id else ""
        return f"Kafka at {', '.join(self.bootstrap_servers)}, topic {self.topic}{once}"

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        yield from self.security.risks("security")
