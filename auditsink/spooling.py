"""Which spool the sink stands on: rings on a disk, perhaps with a copy, or a topic; and what it asks of either."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from auditsink.backup import BackupError, require
from auditsink.clusters.registry import most_clusters
from auditsink.common.clock import Clock
from auditsink.common.disk import RealDisk
from auditsink.config import Config, DestinationSection
from auditsink.config.spool import CHECKPOINTS
from auditsink.forward.dead_letters import DeadLetterQueue, DeadLetters, open_all, place
from auditsink.forward.source import Source
from auditsink.receive.store import Store
from auditsink.spool import Spool, SpoolError
from auditsink.spool.statistics import SpoolStatistics

if TYPE_CHECKING:  # the client of object stores is an extra, and loads where it is configured
    from auditsink.backup.start import Prepared
    from auditsink.backup.uploader import Uploader
    from auditsink.kafka_spool import KafkaSpool
    from auditsink.spool.ring import Ring


class SinkSpool(Store, Protocol):
    """The spool for whoever puts the parts of a sink together."""

    def source(self, destination: str) -> Source:
        """What is read for a destination."""
        ...

    def forget(self, destination: str) -> None:
        """Nobody reads for this destination any more."""
        ...

    def reserve(self, reserved: Mapping[str, int]) -> None:
        """Bytes for each cluster that nobody else may take."""
        ...

    def start(self, notify: Callable[[Any], object], soon: Callable[[Any], object] | None = None) -> None:
        """Begin. `notify` brings a call into the loop's thread; `soon` is the loop's `call_soon`."""
        ...

    def stop(self) -> None:
        """Finish what waits. Blocks."""
        ...

    def statistics(self) -> SpoolStatistics:
        """What is held right now."""
        ...


@contextlib.contextmanager
def kafka_extra() -> Iterator[None]:
    """Around an import of what talks to a topic. Raises SpoolError where its client is not installed."""
    try:
        yield
    except ModuleNotFoundError:
        raise SpoolError("spool.type: kafka needs the extra: pip install 'auditsink[kafka]'") from None


async def open_spool(config: Config, clock: Clock) -> SinkSpool:
    """The spool that is configured. Raises SpoolError."""
    if config.spool.type == "kafka":
        with kafka_extra():
            from auditsink.kafka_spool import KafkaSpool  # noqa: PLC0415 - aiokafka, where it is asked for

        most = config.receive.max_body
        return await KafkaSpool.open(
            config.spool,
            clock=clock,
            max_rings=most_clusters(config),
            max_body=most if config.receives() else None,
            max_letter=most if config.forwards() else None,
        )
    readers = [*(destination.name for destination in config.destinations), *([CHECKPOINTS] if config.evidence else [])]
    return Spool.open(config.spool, clock=clock, max_rings=most_clusters(config), destinations=readers)


async def restored(config: Config, clock: Clock) -> "Prepared | None":
    """What a start does about the copy before the spool is opened; None without one. Raises BackupError, SpoolError."""
    backup = config.spool.backup
    if backup is None:
        return None
    require()
    from auditsink.backup.restore import RestoreTarget  # noqa: PLC0415 - obstore, where it is asked for
    from auditsink.backup.start import prepare  # noqa: PLC0415

    try:
        target = RestoreTarget(config.spool.path, config.spool.max_bytes, _checkpoints(config), RealDisk())
        return await prepare(backup, target, clock=clock)
    except OSError as problem:
        raise BackupError(f"spool.path {config.spool.path}: {problem}; check the disk") from problem


def uploader_of(config: Config, spool: Spool, prepared: "Prepared", clock: Clock) -> "Uploader":
    """Who copies this spool from now on, as `spool.backup` says."""
    from auditsink.backup.uploader import Uploader  # noqa: PLC0415 - see above

    assert config.spool.backup is not None
    rings = partial(_rings, spool)
    return Uploader(config.spool.backup, rings, config.spool.path, _checkpoints(config), prepared, clock=clock)


def _rings(spool: Spool) -> "list[Ring]":
    return list(spool.rings.values())


def _checkpoints(config: Config) -> Path | None:
    return None if config.evidence is None else config.evidence.path


def dead_letters_of(spool: SinkSpool, config: Config, one: DestinationSection) -> DeadLetterQueue:
    """A destination's, for its forwarder."""
    if isinstance(spool, Spool):
        drop_oldest = one.when_dead_letters_full == "drop_oldest"
        return DeadLetters(place(config.spool.path, one.name), one.dead_letter_bytes, drop_oldest=drop_oldest)
    return cast("KafkaSpool", spool).dead_letters(one.name, one.dead_letter_bytes)


def all_dead_letters(spool: SinkSpool, config: Config) -> Mapping[str, DeadLetterQueue]:
    """Of every destination that ever had some; none where this sink does not deliver. Blocks. Raises OSError."""
    if isinstance(spool, Spool):
        return open_all(config.spool.path)
    return cast("KafkaSpool", spool).all_dead_letters() if config.forwards() else {}


@contextlib.contextmanager
def dead_letters_beside(config: Config) -> "Iterator[Mapping[str, DeadLetterQueue]]":
    """The same beside a sink that may run, for commands. Raises OSError, SpoolError."""
    if config.spool.type == "disk":
        yield open_all(config.spool.path)
        return
    with kafka_extra():
        from auditsink.kafka_spool.dead_letters import beside  # noqa: PLC0415 - aiokafka, where it is asked for

    with beside(config.spool) as found:
        yield found


def readable(spool: SinkSpool) -> "Mapping[str, Ring]":
    """The rings that can be looked into here. Of a topic no sink holds what others delivered."""
    return spool.rings if isinstance(spool, Spool) else {}


def unread(config: Config) -> str | None:
    """Why events cannot be looked at over this sink's admin port; None where they can."""
    if config.spool.type == "disk":
        return None
    return f"the spool is a topic, and no sink has all of it: read {config.spool.topic}'s destinations instead"
