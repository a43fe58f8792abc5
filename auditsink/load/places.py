"""Where a configuration writes: files that are two things at once, and volumes that cannot hold what is to lie on them.

Looks at the disk, because links make one file of two paths. All but `look` block.
"""

import os
import re
from collections.abc import Callable, Hashable, Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from auditsink.common.blocking import BlockingCalls, StuckError
from auditsink.common.units import Size
from auditsink.config import AzureConfig, Config, DestinationSection, FileConfig, GcsConfig, LocalConfig, S3Config
from auditsink.config.backup import LocalBackup
from auditsink.load import files

LOOK_SECONDS = 5.0
"""For a look at the disks."""
_SPOOLS_OWN = ("rings", "deadletters")
"""Directories below `spool.path` whose every file is the spool's."""


class _Written(NamedTuple):
    """A file with its real path, and how many older ones are kept beside it as `path.1`, `path.2` and so on."""

    key: str
    path: Path
    keep: int = 0

    def holds(self, path: Path) -> bool:
        """Whether it is that file, or one of its older ones is."""
        older = re.fullmatch(re.escape(self.path.name) + r"\.([1-9][0-9]*)", path.name)
        same = path.parent == self.path.parent
        return path == self.path or (same and older is not None and int(older[1]) <= self.keep)


async def look(config: Config) -> tuple[list[str], list[str]]:
    """What cannot be, and what is risky, for a sink that must start though a volume hangs: whoever uses it says so."""
    calls = BlockingCalls("places")
    try:
        return await calls.run(LOOK_SECONDS, collisions, config), await calls.run(LOOK_SECONDS, cramped, config)
    except (StuckError, OSError):
        return [], ["spool.path, destinations: the places that are written to cannot be looked at; check their disks"]
    finally:
        calls.close()


def collisions(config: Config) -> list[str]:
    """A line for each place that two would write to, or that is the spool's: the key, the other, what to do."""
    return [*_overlapping(config), *_in_the_spool(config), *_same_objects(config)]


def cramped(config: Config, total: Callable[[Path], int] | None = None) -> list[str]:
    """A line for each volume that is smaller than what may come to lie on it, and for what lies in the spool.

    `total` gives the bytes of the volume that a path is on.
    """
    if config.spool.type == "kafka":
        return []
    return [*_beside_the_rings(config), *_larger_than_its_volume(config, (total or _total)(config.spool.path))]


def unwritable(path: Path, *, directory: bool) -> str | None:
    """Why nothing could be written there, found without writing; None where it looks possible."""
    if directory is not path.is_dir() and path.exists():
        return f"{path}: is {'no' if directory else 'a'} directory; name another path"
    if not directory and path.exists() and not path.is_file():  # nothing of a pipe or a device is kept, nor synced
        return f"{path}: is no regular file; name another path"
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir() and there != path:
        return f"{path}: {there} is no directory; name another path"
    if not os.access(there, os.W_OK):
        return f"{path}: {there} may not be written to by this user; change its owner or mode, or name another path"
    return None


def existing(path: Path) -> Path:
    """The path without its links, as far as it is there: the place whose volume it will lie on."""
    path = _real(path)
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _beside_the_rings(config: Config) -> Iterator[str]:
    spool = _real(config.spool.path)
    for place, one in enumerate(config.destinations):
        if isinstance(one, FileConfig | LocalConfig) and spool in _with_parents(one.path):
            yield f"destinations[{place}].path: lies in the spool's directory, where only the spool should write"


def _larger_than_its_volume(config: Config, most: int) -> Iterator[str]:
    spool = config.spool
    if spool.max_bytes > most:
        yield (
            f"spool.max_bytes: {spool.max_bytes} is more than the whole volume of {spool.path} has ({Size(most)}), so "
            "the disk is full before the ring is; lower it, or use a larger volume"
        )
        return
    others = _others_beside_the_spool(config)
    wanted = Size(spool.max_bytes + sum(others.values()))
    if wanted > most:
        yield (
            f"spool.max_bytes: together with {', '.join(others)} up to {wanted} may come to lie on the volume of "
            f"{spool.path}, which has {Size(most)}; lower one of them, or use a larger volume"
        )


def _overlapping(config: Config) -> Iterator[str]:
    written = [
        _Written(f"destinations[{place}].path", _real(one.path), one.keep)
        for place, one in enumerate(config.destinations)
        if isinstance(one, FileConfig)
    ]
    if config.evidence is not None:
        written.append(_Written("evidence.path", _real(config.evidence.path)))
    for first, second in combinations(written, 2):
        if first.holds(second.path):
            yield f"{second.key}: is the file of {first.key}, or one of its older ones; choose another name"
        elif second.holds(first.path):
            yield f"{first.key}: is the file of {second.key}, or one of its older ones; choose another name"
    for key, path in files.named(config):
        for one in written:
            if one.holds(_real(path)):
                yield f"{one.key}: is the file of {key}, which would be overwritten; choose another name"


def _in_the_spool(config: Config) -> Iterator[str]:
    for place, one in enumerate(config.destinations):
        if isinstance(one, FileConfig | LocalConfig):
            for name in _SPOOLS_OWN:
                own = _real(config.spool.path) / name
                if own in _with_parents(one.path):
                    yield f"destinations[{place}].path: lies in the spool's own {name}; choose a place outside"
    backup = config.spool.backup
    if isinstance(backup, LocalBackup) and _real(config.spool.path) in _with_parents(backup.path / backup.root):
        yield "spool.backup.path: lies in the spool, whose end it is to outlive; choose a place on another disk"


def _same_objects(config: Config) -> Iterator[str]:
    first: dict[Hashable, int] = {}
    for place, one in enumerate(config.destinations):
        store = _store(one)
        if store is not None and (earlier := first.setdefault(store, place)) != place:
            yield (
                f"destinations[{place}].prefix: gives its objects the names of those of destinations[{earlier}], and "
                "they would replace each other; choose another prefix"
            )


def _store(one: DestinationSection) -> Hashable:
    """What makes the names of an object store's objects."""
    match one:
        case S3Config():
            return "s3", one.endpoint, one.bucket, one.prefix, one.key_format, one.tag, one.compression
        case GcsConfig():
            return "gcs", one.endpoint, one.bucket, one.prefix, one.compression
        case AzureConfig():
            return "azure", one.endpoint, one.account, one.container, one.prefix, one.compression
        case LocalConfig():
            return "local", str(_real(one.path)), one.prefix, one.compression
        case _:
            return None


def _others_beside_the_spool(config: Config) -> dict[str, int]:
    """Keys and the bytes that they allow on the spool's volume."""
    found: dict[str, int] = {}
    device = _device(config.spool.path)
    for place, one in enumerate(config.destinations):
        found[f"destinations[{place}].dead_letter_bytes"] = one.dead_letter_bytes
        if isinstance(one, FileConfig) and _device(one.path) == device:
            found[f"destinations[{place}].rotate_bytes"] = one.rotate_bytes * (one.keep + 1)
    return found


def _with_parents(path: Path) -> tuple[Path, ...]:
    real = _real(path)
    return real, *real.parents


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _device(path: Path) -> int:
    return existing(path).stat().st_dev


def _total(path: Path) -> int:
    found = os.statvfs(existing(path))
    return found.f_blocks * found.f_frsize
