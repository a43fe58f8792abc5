"""`clusters`: who may post, what is reserved for each, and where its events go."""

from pathlib import Path
from typing import ClassVar

import msgspec

from auditsink.common.secret import Secret
from auditsink.common.units import Size
from auditsink.config.section import Section


class Rate(Section, frozen=True, kw_only=True):
    """How many events a cluster may post."""

    events_per_second: int
    burst: int | None = None  # events at once after a pause; left out: ten seconds' worth


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


class Clusters(Section, frozen=True, kw_only=True):
    """The clusters that may post; nobody else may. A plain list stands for `members`."""

    SHORT_FOR: ClassVar[str] = "members"

    directory: Path | None = None  # *.yaml, one cluster each, looked at every few seconds
    members: list[Cluster] = msgspec.field(default_factory=list)
