"""What differs between two configurations, and what of it a running sink can take up. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from auditsink.config import Config, DestinationSection
from auditsink.config.section import Section

LIVE_RECEIVE = frozenset(
    {"max_body", "max_in_flight", "max_connections", "retry_after", "request_timeout", "idle_timeout"}
)
"""Keys of `receive` that are limits; all others belong to the socket, the rings or the way in."""


@dataclass(frozen=True, slots=True)
class Changes:
    """`restart`: keys whose change needs a restart, with the whole path. `target`: what is in force afterwards."""

    added: Sequence[DestinationSection]
    changed: Sequence[DestinationSection]
    removed: Sequence[str]
    clusters: bool
    limits: bool
    log: bool
    restart: Sequence[str]
    target: Config

    @property
    def any(self) -> bool:
        """Whether there is anything to take up now."""
        return bool(self.added or self.changed or self.removed or self.clusters or self.limits or self.log)

    def sentences(self) -> list[str]:
        """What is taken up, and what is not, for a person."""
        said = [f"destination {one.name} is added" for one in self.added]
        said += [f"destination {one.name} is changed" for one in self.changed]
        said += [f"destination {name} is removed" for name in self.removed]
        said += [f"{what} are changed" for what, so in (("clusters", self.clusters), ("limits", self.limits)) if so]
        said += ["the log's level is changed"] if self.log else []
        return said + [f"{key} needs a restart" for key in self.restart]


def between(old: Config, new: Config) -> Changes:
    """From one to the other. The order of destinations is no difference."""
    before = {destination.name: destination for destination in old.destinations}
    after = {destination.name: destination for destination in new.destinations}
    limits = {key for key in LIVE_RECEIVE if getattr(old.receive, key) != getattr(new.receive, key)}
    restart = [
        *(f"receive.{key}" for key in _different(old.receive, new.receive) if key not in LIVE_RECEIVE),
        *(f"spool.{key}" for key in _different(old.spool, new.spool)),
        *(f"admin.{key}" for key in _different(old.admin, new.admin)),
        *(["evidence"] if old.evidence != new.evidence else []),
        *(["log.format"] if old.log.format != new.log.format else []),
        *(["watch"] if old.watch != new.watch else []),
        *(["clusters"] if (old.clusters is None) != (new.clusters is None) else []),
    ]
    declared = (old.clusters is None) == (new.clusters is None)
    target = replace(
        new,
        receive=replace(old.receive, **{key: getattr(new.receive, key) for key in limits}),
        spool=old.spool,
        admin=old.admin,
        evidence=old.evidence,
        log=replace(old.log, level=new.log.level),
        watch=old.watch,
        clusters=new.clusters if declared else old.clusters,
    )
    return Changes(
        added=[one for name, one in after.items() if name not in before],
        changed=[one for name, one in after.items() if name in before and one != before[name]],
        removed=[name for name in before if name not in after],
        clusters=declared and old.clusters != new.clusters,
        limits=bool(limits),
        log=old.log.level != new.log.level,
        restart=restart,
        target=target,
    )


def _different(old: Section, new: Section) -> Iterator[str]:
    for field in msgspec.structs.fields(old):
        if getattr(old, field.name) != getattr(new, field.name):
            yield field.encode_name


def lost(names: Sequence[str], pending: Mapping[str, int]) -> list[str]:
    """A sentence for each destination that would be removed with events that it has not got."""
    waiting: list[tuple[str, Any]] = [(name, pending.get(name, 0)) for name in names]
    return [
        f"destination {name} has not got {count:,} events and would never get them; wait until it has, or say "
        "auditsink reload --force"
        for name, count in waiting
        if count
    ]
