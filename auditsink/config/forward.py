"""`type: forward`: Fluentd's forward protocol."""

import re
from pathlib import Path
from typing import ClassVar, Literal

from auditsink.common.listen import parse_address
from auditsink.common.secret import Secret
from auditsink.config.checks import address, given, not_both
from auditsink.config.client import ClientTls
from auditsink.config.destination import LabelledSection
from auditsink.config.section import Broken

_TAG = re.compile(r"(?:[A-Za-z0-9._-]|\{cluster\})+\Z")


class ForwardConfig(LabelledSection, frozen=True, kw_only=True, tag="forward"):
    """Fluentd's forward protocol: fluentd, fluent-bit, and whatever else speaks it."""

    IMPLEMENTATION: ClassVar[str] = "auditsink.destinations.fluentd:ForwardDestination"
    EXTRA: ClassVar[str] = "forward"
    LISTS: ClassVar[bool] = True

    address: str  # host:port
    tag: str = "audit"  # {cluster}
    acknowledge: bool = True  # false: what a broken connection swallows is lost
    compression: Literal["gzip", "none"] = "gzip"
    time_as_integer: bool = False  # for receivers older than fluentd 0.14
    shared_key: Secret | None = None  # given: the handshake of secure forward
    shared_key_file: Path | None = None
    hostname: str | None = None  # what we call ourselves in it; left out: the machine's name
    username: str | None = None
    password: Secret | None = None
    password_file: Path | None = None
    tls: ClientTls | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        mistakes = [*address("address", self.address)]
        yield from mistakes
        if not mistakes and not all(parse_address(self.address)):
            yield "address", "lacks a host or a port; write both, like fluentd:24224"
        if not _TAG.match(self.tag):
            yield "tag", "write letters, digits, dots, dashes, underscores and {cluster}"
        yield from not_both(self, "shared_key", "shared_key_file")
        yield from not_both(self, "password", "password_file")
        has_key = given(self, "shared_key") or given(self, "shared_key_file")
        has_password = given(self, "password") or given(self, "password_file")
        if (self.username or has_password) and not has_key:
            yield "shared_key_file", "is missing; a user is shown in the handshake that needs it"
        if self.username and not has_password:
            yield "password_file", "is missing; username needs it (or password)"
        if has_password and not self.username:
            yield "username", "is missing; a password needs it"
        yield from super().broken()

    def describe(self) -> str:
        """Where events go; see `DestinationSection`."""
        return f"forward protocol at {self.address}{' by TLS' if self.tls else ''}, tag {self.tag}"

    def risks(self) -> Broken:
        """See `DestinationSection.risks`."""
        if not self.acknowledge:
            yield "acknowledge", "is false: what a broken connection swallows is lost; set it where the other side can"
        if self.tls is not None:
            yield from self.tls.risks("tls")
        elif not parse_address(self.address).loopback:
            yield "tls", "is not set, so events travel in the clear"
