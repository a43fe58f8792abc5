"""What runs on a stopped sink's volume when its shoot moves: the undelivered part of the spool into a bucket, and back.

Objects are `auditsink-evacuation/NAME/CLUSTER/...`, each cluster an export of its own (`auditsink.spool.offline`):
plain NDJSON, manifest last. An export begins with the segment in which the slowest destination's next event is; so
what other destinations had already of it comes to them once more.
"""

from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from auditsink.common.clock import SystemClock
from auditsink.common.operator_error import OperatorError
from auditsink.config import Config, ObjectConfig
from auditsink.destinations.object_stores import StoreClient
from auditsink.spool import SpoolError
from auditsink.spool.offline import inspect
from auditsink.spool.offline.export import Selection, export
from auditsink.spool.offline.export_format import MANIFEST
from auditsink.spool.offline.import_ import restore

__all__ = ["Evacuated", "EvacuationError", "SpoolError", "evacuate", "take_up"]

PREFIX = "auditsink-evacuation"


class EvacuationError(OperatorError):
    """The bucket cannot be used: a sentence without anything secret."""


@dataclass(frozen=True)
class Evacuated:
    """Events that lie in the bucket now, and the clusters whose last segment was not sealed and stayed behind."""

    events: int
    unsealed: tuple[str, ...] = ()


def evacuate(config: Config, name: str, work: Path) -> Evacuated:
    """The rings of `spool.path` into the one destination of `config`. Raises EvacuationError, SpoolError, OSError."""
    store, spool = _store(config), config.spool.path
    events, unsealed = 0, []
    for cluster in inspect.clusters(spool):
        since = _undelivered_since(spool, cluster)
        if since is None:
            continue
        target = work / cluster
        manifest = export(spool, [cluster], target, made_ns=SystemClock().wall_ns(), selection=Selection(since=since))
        (ring,) = manifest.rings
        events += sum(segment.count for segment in ring.segments)
        unsealed += [cluster] if ring.open_from is not None else []
        files = sorted(path for path in target.rglob("*") if path.is_file() and path.name != MANIFEST)
        for path in (*files, target / MANIFEST):
            _put(store, f"{PREFIX}/{name}/{cluster}/{path.relative_to(target)}", path)
    return Evacuated(events, tuple(unsealed))


def take_up(config: Config, name: str, work: Path) -> int:
    """What lies there under that name into `spool.path`, and out of the bucket; how many events. Raises the same."""
    store, written = _store(config), 0
    found: dict[str, list[str]] = {}
    try:
        for page in obstore.list(store, prefix=f"{PREFIX}/{name}/"):
            for one in page:
                found.setdefault(one["path"].removeprefix(f"{PREFIX}/{name}/").split("/")[0], []).append(one["path"])
        for cluster, paths in sorted(found.items()):
            if not any(path.endswith(f"/{cluster}/{MANIFEST}") for path in paths):
                continue  # it was cut short, and nothing says that it is whole
            for path in paths:
                file = work / path.removeprefix(f"{PREFIX}/{name}/")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(bytes(obstore.get(store, path).bytes()))
            written += sum(one.written for one in restore(work / cluster, config.spool.path).values())
            obstore.delete(store, paths)
    except BaseError as problem:
        raise EvacuationError(f"the bucket cannot be read: {type(problem).__name__}") from None
    return written


def _undelivered_since(spool: Path, cluster: str) -> int | None:
    """When the segment begins in which the slowest destination goes on, by its first request; None: all is done."""
    report = inspect.verify(spool, cluster)
    positions = [state.position for state in report.cursors.values() if state is not None]
    first = min(positions, default=0)
    left = [
        segment.first_received_ns for segment in report.segments if segment.next_sequence > first and segment.requests
    ]
    return min(left, default=None)


def _store(config: Config) -> ObjectStore:
    (destination,) = config.destinations
    assert isinstance(destination, ObjectConfig)
    return StoreClient(destination).store()


def _put(store: ObjectStore, name: str, path: Path) -> None:
    try:
        obstore.put(store, name, path)
    except BaseError as problem:
        raise EvacuationError(f"the bucket takes nothing: {type(problem).__name__}") from None
