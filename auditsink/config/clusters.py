"""`clusters`: who may post, what is reserved for each, and where its events go."""

import re
from pathlib import Path
from typing import ClassVar

import msgspec

from auditsink.common.cluster_name import CLUSTER, CLUSTER_RULE
from auditsink.common.secret import Secret
from auditsink.common.units import Size
from auditsink.config.checks import whole
from auditsink.config.section import Broken, Section

_CERTIFICATE = re.compile(r"(cn|dns|uri|email):[^\s]([^\n]{0,253}[^\s])?\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
# As Kubernetes names labels and annotations (k8s.io/apimachinery, IsQualifiedName), with a prefix.
_QUALIFIED = re.compile(
    r"(?=[^/]{1,253}/[^/]{1,63}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/"
    r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\Z"
)
_LABEL_RULE = (
    "is no name for a label; write 1 to 63 of a-z, 0-9 and _, a letter first, "
    "or one with a prefix as in seed.gardener.cloud/name"
)
_TOKEN = re.compile(r"[!-~]+\Z")
LONGEST_LABEL = 256
MOST_LABELS = 16
LEAST_RESERVATION = 2**20
"""Less would not hold a batch of an apiserver that records bodies."""


class Rate(Section, frozen=True, kw_only=True):
    """How many events a cluster may post."""

    events_per_second: int
    burst: int | None = None  # events at once after a pause; left out: ten seconds' worth

    def broken(self) -> Broken:
        """See `Section.broken`."""
        yield from whole("events_per_second", self.events_per_second, 1, 10_000_000)
        if self.burst is not None:
            yield from whole("burst", self.burst, 1, 100_000_000)


class Cluster(Section, frozen=True, kw_only=True):
    """One cluster: a member of the list, or a file of the directory."""

    name: str
    token_file: Path | None = None  # its bearer tokens, one a line
    tokens: list[Secret] = msgspec.field(default_factory=list)
    certificates: list[str] = msgspec.field(default_factory=list)  # cn:, dns:, uri: or email: and a name; any of them
    anonymous: bool = False  # whoever names it in the path may post as it
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    destinations: list[str] | None = None  # left out: all
    reservation: Size = Size(0)
    rate: Rate | None = None

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if not CLUSTER.match(self.name):
            yield "name", CLUSTER_RULE
        if self.destinations == []:
            yield "destinations", "is empty; write at least one, or remove the key for all"
        if 0 < self.reservation < LEAST_RESERVATION:
            yield "reservation", f"must be at least {LEAST_RESERVATION // 2**20}MiB, or 0 for none"
        yield from self._broken_credentials()
        yield from _broken_labels(self.labels)

    def _broken_credentials(self) -> Broken:
        identified = bool(self.token_file or self.tokens or self.certificates)
        if not identified and not self.anonymous:
            yield (
                "token_file",
                "is missing; write it, tokens or certificates (or anonymous: true, and anybody may post)",
            )
        if identified and self.anonymous:
            yield "anonymous", "contradicts the credentials; remove one of the two"
        for place, name in enumerate(self.certificates):
            if not _CERTIFICATE.match(name):
                yield f"certificates[{place}]", "write cn:, dns:, uri: or email: and the name as the certificate has it"
        for place, token in enumerate(self.tokens):
            if not _TOKEN.match(token.reveal()):
                yield f"tokens[{place}]", "no header can carry it; use printable ASCII without spaces"


def _broken_labels(labels: dict[str, str]) -> Broken:
    if len(labels) > MOST_LABELS:
        yield "labels", f"are more than {MOST_LABELS}; every event carries them"
    for name, value in labels.items():
        if not _LABEL.match(name) and not _QUALIFIED.match(name):
            yield f"labels.{name}", _LABEL_RULE
        if not value.isprintable() or not 1 <= len(value) <= LONGEST_LABEL:
            yield f"labels.{name}", f"is no label; write one line of 1 to {LONGEST_LABEL} characters"


class Clusters(Section, frozen=True, kw_only=True):
    """The clusters that may post; nobody else may. A plain list stands for `members`."""

    SHORT_FOR: ClassVar[str] = "members"

    directory: Path | None = None  # *.yaml, one cluster each, looked at every few seconds
    members: list[Cluster] = msgspec.field(default_factory=list)

    def broken(self) -> Broken:
        """See `Section.broken`."""
        if self.directory is None and not self.members:
            yield "members", "is empty; write at least one, or name a directory"

    @property
    def labels(self) -> set[str]:
        """The names of the labels that members have."""
        return {name for member in self.members for name in member.labels}

    def who(self) -> str:
        """Who may post for this cluster, in words."""
        count = len(self.members)
        where = [f"the {count:,} {'cluster' if count == 1 else 'clusters'} declared here"] if count else []
        where += [f"those of the files in {self.directory}"] if self.directory else []
        anonymous = [member.name for member in self.members if member.anonymous]
        but = f" (without one: {', '.join(anonymous)})" if anonymous else ""
        return f"{' and '.join(where)}, each by its own credential{but}, and nobody else"

    def risks(self, *, tls: bool) -> Broken:
        """What may happen, and what to write instead; the key stands behind `clusters`. `tls`: of the receive port."""
        for place, one in enumerate(self.members):
            if one.anonymous:
                yield f"[{place}].anonymous", f"whoever reaches the port can add events for {one.name}"
        if not tls and any(member.tokens or member.token_file for member in self.members):
            yield "", "kube-apiserver sends no token over plain HTTP; set receive.tls"
