"""`type: splunk`: Splunk's HTTP Event Collector."""

from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from auditsink.common.secret import Secret
from auditsink.config.checks import in_the_clear, not_both, origin, url
from auditsink.config.client import ClientTls, Proxy
from auditsink.config.destination import DestinationSection
from auditsink.config.section import Broken


class SplunkConfig(DestinationSection, frozen=True, kw_only=True, tag="splunk"):
    """Splunk's HTTP Event Collector."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.splunk:SplunkDestination"
    LISTS: ClassVar[bool] = True

    url: str
    token: Secret | None = None
    token_file: Path | None = None
    index: str | None = None
    source: str | None = None
    sourcetype: str = "kube:apiserver-audit"
    host: str = "{cluster}"
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    acknowledge: bool = False
    compression: Literal["gzip", "none"] = "gzip"
    tls: ClientTls = ClientTls()
    proxy: Proxy | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from url("url", self.url, tls=self.tls.given)
        if self.token is None and self.token_file is None:
            yield "token_file", "is missing; name a file that holds the HEC token (or set token)"
        yield from not_both(self, "token", "token_file")
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        index = f"index {self.index}" if self.index else "the token's index"
        way = f" through the proxy {origin(self.proxy.url)}" if self.proxy else ""
        return f"Splunk HEC at {origin(self.url)}{way}, {index}, sourcetype {self.sourcetype}"

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        yield from self.tls.risks("tls")
        if in_the_clear(self.url):
            yield "url", "is plain http: events and credentials travel in the clear; use https"
