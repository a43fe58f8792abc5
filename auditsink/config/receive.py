"""`receive`: the port that kube-apiserver posts to."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.common.listen import parse_address
from auditsink.common.units import Duration, Size
from auditsink.config.checks import address, positive, whole
from auditsink.config.section import Broken, Section

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+\Z")


class ServerTls(Section, frozen=True, kw_only=True):
    """HTTPS on the receive port. All files are re-read when they change."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None  # set: no client certificate of this CA, no entry
    client_certificates: Literal["required", "optional"] = "required"  # optional: a token may do instead


class Receive(Section, frozen=True, kw_only=True):
    """The receive port."""

    listen: str = "0.0.0.0:9880"  # a Service in front of it is the usual case
    path: str = "/audit"
    cluster: str = "default"
    max_body: Size = Size(32 * 2**20)
    max_in_flight: Size = Size(64 * 2**20)
    max_connections: int = 4096
    max_clusters: int | None = None  # a ring each; left out: 1000, or 128 where any client can name one
    retry_after: Duration = Duration(5)
    request_timeout: Duration = Duration(35)  # first byte to last: kube-apiserver gives up at 30 s
    idle_timeout: Duration = Duration(120)  # kube-apiserver closes idle connections at 90 s: it must be the first
    tls: ServerTls | None = None
    tokens_file: Path | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from address("listen", self.listen)
        if not _PATH.match(self.path):
            yield "path", "write a path like /audit, without a slash at its end"
        if not CLUSTER.match(self.cluster):
            yield "cluster", CLUSTER_RULE
        if self.max_body < 1024:
            yield "max_body", "must be at least 1KiB; an apiserver's batches are megabytes"
        if self.max_body > self.max_in_flight:
            yield "max_in_flight", "must be at least max_body, or a body of that size could never be taken"
        yield from whole("max_connections", self.max_connections, 1, 100_000)
        if self.max_clusters is not None:
            yield from whole("max_clusters", self.max_clusters, 1, 10_000)
        if not 1 <= self.retry_after <= 30 or self.retry_after % 1:
            wanted = "write whole seconds from 1s to 30s; kube-apiserver ignores fractions and gives up at 30 s"
            yield "retry_after", wanted
        yield from positive("request_timeout", self.request_timeout)
        yield from positive("idle_timeout", self.idle_timeout)

    @property
    def client_ca(self) -> bool:
        """Whether nobody gets in without a client certificate of a CA that is named."""
        return self.tls is not None and self.tls.client_ca_file is not None

    def plan(self) -> Iterator[str]:
        """Where it listens, a sentence each."""
        scheme = "https" if self.tls else "http"
        yield f"listens on {scheme}://{self.listen} for POST {self.path} and {self.path}/CLUSTER"

    def who(self) -> str:
        """Who may post, where no clusters are declared."""
        if self.client_ca and self.tokens_file:
            return "whoever shows a certificate of client_ca_file and a token of tokens_file"
        if self.client_ca:
            return "whoever shows a certificate of client_ca_file"
        return "whoever shows a token of tokens_file" if self.tokens_file else "anybody who reaches the port"

    def risks(self, *, identified: bool) -> Broken:
        """What may happen, and what to write instead. `identified`: nobody posts for a cluster without a credential."""
        local = parse_address(self.listen).loopback
        if self.tokens_file and not self.tls:
            yield "tokens_file", "kube-apiserver sends no token over plain HTTP; set receive.tls"
        if not identified and not local:
            risk = (
                "anybody who reaches the port can add events for any cluster; "
                "set receive.tls.client_ca_file or receive.tokens_file, or close the port by a NetworkPolicy"
            )
            yield "listen", risk
        if not self.tls and not local:
            yield "tls", "is not set, so the audit trail travels in the clear up to here"
        if self.idle_timeout < 90:
            yield "idle_timeout", "below the 90s of kube-apiserver, whose requests may meet a closing connection"
        if self.request_timeout < 30:
            yield "request_timeout", "below the 30s that kube-apiserver allows itself; a slow network loses batches"
