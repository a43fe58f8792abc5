"""`clusters.directory`: a file for each cluster, looked at again and again.

Files are written by a controller, or mounted from a ConfigMap or Secret whose files are swapped by a symbolic link. A
file that is broken after a change keeps what it said before; one that is gone takes its cluster off the cluster_set.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from auditsink.common.watch import stamp
from auditsink.config import Cluster
from auditsink.load import ConfigError, parse_cluster

ENDINGS = (".yaml", ".yml")
MOST_BYTES = 2**16
"""Of one file. A cluster takes a kilobyte."""
MOST_FILES = 10_000
"""As many as `receive.max_clusters` can allow."""


@dataclass(slots=True)
class ClusterFile:
    """`cluster`: what it said when it was sound last, None if it never was. `problem`: what is wrong with it now."""

    path: Path
    stamp: tuple[int, ...]
    cluster: Cluster | None = None
    problem: str | None = None


class Directory:
    """`files` by path, those first that were there first. `problem`: why the directory cannot be looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, ClusterFile] = {}
        self.problem: str | None = None

    def look(self) -> bool:
        """Read what is new or changed; True when anything is. Reads the disk: run it in a thread."""
        try:
            found = self._found()
        except OSError as problem:
            self.problem = (
                f"clusters.directory {self.path}: {problem.strerror or 'cannot be read'}; check the path and its "
                "permissions; the clusters that it declared stay as they are"
            )
            return False
        self.problem = self._too_many(found)
        gone = [path for path in self.files if path not in found]
        changed = [path for path, stamp in found.items() if path not in self.files or self.files[path].stamp != stamp]
        for path in gone:
            del self.files[path]
        for path in changed:
            self._read(path, found[path])
        return bool(gone or changed)

    def _found(self) -> dict[str, tuple[int, ...]]:
        """Files by path, the oldest first: so a restart enters them as they came."""
        stamps: dict[str, tuple[int, ...]] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.endswith(ENDINGS) and not entry.name.startswith("."):
                    stamps[entry.path] = _stamp(entry)
        oldest_first = sorted(stamps, key=lambda path: (stamps[path][-1], path))
        return {path: stamps[path] for path in oldest_first[:MOST_FILES]}

    def _too_many(self, found: Mapping[str, object]) -> str | None:
        if len(found) < MOST_FILES:
            return None
        return f"clusters.directory {self.path}: holds {MOST_FILES:,} files or more; what is beyond is not read"

    def _read(self, path: str, stamp: tuple[int, ...]) -> None:
        file = self.files.setdefault(path, ClusterFile(Path(path), stamp))
        file.stamp = stamp
        try:
            with file.path.open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise ConfigError([f"{path}: is larger than {MOST_BYTES:,} bytes; a file declares one cluster"])  # noqa: TRY301 - one place says what is wrong
            file.cluster, file.problem = parse_cluster(data, path), None
        except OSError as problem:
            file.problem = f"{path}: {problem.strerror or 'cannot be read'}; check the file and its permissions"
            file.stamp = ()  # permissions change without a new time
        except ConfigError as problem:
            more = f" (and {len(problem.mistakes) - 1} more)" if len(problem.mistakes) > 1 else ""
            file.problem = f"{problem.mistakes[0]}{more}"


def _stamp(entry: "os.DirEntry[str]") -> tuple[int, ...]:
    try:
        return stamp(entry)
    except OSError:  # a link that leads nowhere: reading it says so
        return (0,)
