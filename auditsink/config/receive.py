"""`receive`: the port that kube-apiserver posts to."""

from pathlib import Path
from typing import Literal

from auditsink.common.units import Duration, Size
from auditsink.config.section import Section


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
