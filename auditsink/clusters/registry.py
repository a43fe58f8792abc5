"""The cluster set in force, and the files that it comes from, looked at again and again.

Files of `clusters.directory` are written by a controller, or mounted from a ConfigMap or Secret whose files are swapped
by a symbolic link. A file that is broken after a change keeps what it said before; one that is gone takes its cluster
off the cluster set.

`poll` runs in one thread at a time; everything else may be asked from any: a cluster set is replaced as a whole.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from auditsink import config
from auditsink.clusters import retained
from auditsink.clusters.cluster_set import Bounds, ClusterSet, Entries
from auditsink.clusters.retained import RetainedCluster
from auditsink.clusters.tokens import TokenFile, Tokens, digest, parse_tokens, tokens_of
from auditsink.common.operator_error import OperatorError
from auditsink.common.watch import stamp
from auditsink.config import Cluster
from auditsink.config.kafka_spool import topic_segment_bytes
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


log = logging.getLogger("auditsink.clusters")

MOST_CLUSTERS = 1000
MOST_CLAIMED = 128
"""Rings that clients without an identity can have made, if nothing else is configured. Each costs a directory, a few
open files and its first segment; a thousand could be had by any pod that reaches the port."""
_ALL = RetainedCluster()


class ClustersError(OperatorError):
    """The declared clusters cannot be used: a line each, with the key or file and what to do."""


def most_clusters(settings: config.Config) -> int:
    """How many rings there may be."""
    if settings.receive.max_clusters is not None:
        return settings.receive.max_clusters
    return MOST_CLUSTERS if settings.clusters or settings.receive.tokens_file else MOST_CLAIMED


@dataclass(slots=True)
class Declaration:
    """`origin`: the key or the file that declares it. `refused`: why what is wanted is not on the cluster_set."""

    origin: str
    wanted: config.Cluster
    refused: str | None = None
    _entered: tuple[config.Cluster, Tokens] | None = None
    _file: TokenFile | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong with declarations that are not in force, a sentence each."""
        found = [] if self.refused is None else [f"{self.origin}: {self.refused}"]
        return found + ([f"{self.origin}: token_file: {self._file.error}"] if self._file and self._file.error else [])

    def look(self) -> None:
        """Look at the token file. Reads the disk."""
        path = self.wanted.token_file
        if path is None:
            self._file = None
        elif self._file is None or self._file.path != path:
            self._file = TokenFile(path, tokens_of(self.wanted.name))
        else:
            self._file.changed()

    def enter(self, entries: Entries) -> bool:
        """Put what is wanted among the entries, in place of what stands there; True when they are others now.

        If it cannot be there, what stands there stays.
        """
        wanted = (self.wanted, self._tokens())
        if wanted == self._entered:
            self.refused = None
            return False
        before = self._entered
        self.leave(entries)
        self.refused = entries.enter(*wanted)
        if self.refused is None:
            self._entered = wanted
        elif before is not None:
            entries.enter(*before)
            self._entered = before
        return self._entered != before

    def leave(self, entries: Entries) -> None:
        """Take it off the cluster_set."""
        if self._entered is not None:
            entries.leave(*self._entered)
            self._entered = None

    def _tokens(self) -> Tokens:
        name = self.wanted.name
        tokens = {digest(token.reveal().encode()): name for token in self.wanted.tokens}
        # A file's tokens were read for the name of that time.
        return tokens | (dict.fromkeys(self._file.tokens, name) if self._file is not None else {})


class Registry:
    """Who may post and what is theirs. `on_change` gets each set after the first, in the thread that found it."""

    def __init__(self, settings: config.Config, *, on_change: Callable[[ClusterSet], None] = lambda _: None) -> None:
        """Raises ClustersError for what stands in the configuration itself; what is wrong with a file is a problem."""
        clusters = settings.clusters
        self.cluster_set = ClusterSet(closed=False)
        self.problems: tuple[str, ...] = ()
        self.declared = clusters is not None
        self._on_change: Callable[[ClusterSet], None] = lambda _: None
        self._spool = settings.spool.path
        self._entries = Entries(_bounds(settings))
        self._tokens = TokenFile(path, parse_tokens) if (path := settings.receive.tokens_file) is not None else None
        members = [] if clusters is None else clusters.members
        self._members = [Declaration(f"clusters[{place}] ({one.name})", one) for place, one in enumerate(members)]
        self._directory = Directory(clusters.directory) if clusters and clusters.directory else None
        self._files: dict[str, Declaration] = {}
        self._former: dict[str, RetainedCluster] = {}
        self._routings: dict[str, RetainedCluster] = {}
        self._remembers = False
        self._lock = Lock()  # `adopt` may come while a thread polls
        self._start()
        self._on_change = on_change

    @property
    def watches(self) -> bool:
        """Whether there is a file to look at."""
        return self.declared or self._tokens is not None

    @property
    def reserved(self) -> dict[str, int] | None:
        """Bytes reserved for each declared cluster; None where clusters are not declared."""
        return {name: one.reservation for name, one in self.cluster_set.clusters.items()} if self.declared else None

    def routing(self, cluster: str) -> RetainedCluster:
        """Where a cluster's events go and what they carry, for one that is declared no longer too."""
        return self._routings.get(cluster, _ALL)

    def wanted(self, cluster: str, destination: str) -> bool:
        """Whether the cluster's events go to the destination."""
        chosen = self.routing(cluster).destinations
        return chosen is None or destination in chosen

    def labels(self, cluster: str) -> Mapping[str, str]:
        """What goes beside the cluster's events."""
        return self.routing(cluster).labels

    def rate(self, cluster: str) -> config.Rate | None:
        """What a cluster may post."""
        found = self.cluster_set.clusters.get(cluster)
        return None if found is None else found.rate

    def poll(self) -> bool:
        """Look at the files; True when another cluster set is in force. Reads the disk."""
        with self._lock:
            tokens = self._tokens is not None and self._tokens.changed()
            changed = self._enter() if self.declared else False
            if tokens or changed:
                self._publish()
            self.problems = tuple(self._problems())
        return tokens or changed

    def adopt(self, settings: config.Config) -> None:
        """Take up what another configuration declares. Raises ClustersError, and all is as it was. Reads the disk."""
        fresh = Registry(settings)
        with self._lock:
            self.declared, self._entries, self._tokens = fresh.declared, fresh._entries, fresh._tokens
            self._members, self._directory, self._files = fresh._members, fresh._directory, fresh._files
            if self.watches:
                self._publish()
            self.problems = tuple(self._problems())

    def remember(self, rings: Iterable[str]) -> None:
        """Learn what earlier processes declared, once the rings are known, and write it down from now on.

        Raises ClustersError.
        """
        try:
            kept = retained.read(self._spool)
        except (OSError, ValueError) as problem:
            raise ClustersError(str(problem)) from None
        held, self._remembers = set(rings), True
        self._former = {name: one for name, one in kept.items() if name in held}
        self._recall()

    def _start(self) -> None:
        if self._directory is not None and not self._directory.path.is_dir():
            raise ClustersError(f"clusters.directory {self._directory.path}: is no directory; make it, or name another")
        if self._tokens is not None and self._tokens.error:
            raise ClustersError(f"receive.tokens_file {self._tokens.error}")
        if self.declared:
            self._enter()
            if problems := [problem for member in self._members for problem in member.problems]:
                raise ClustersError("\n".join(problems))
        if self.watches:
            self._publish()
        self.problems = tuple(self._problems())

    def _enter(self) -> bool:
        """Bring the cluster set's entries to what is declared now."""
        changed = self._look()
        sources = [*self._members, *self._files.values()]
        for source in sources:
            source.look()
        # What gives something back may make room for another, whichever comes first.
        while sum(source.enter(self._entries) for source in sources):
            changed = True
        return changed

    def _look(self) -> bool:
        """Bring `_files` to what the directory holds; True when one is gone."""
        if self._directory is None:
            return False
        self._directory.look()
        found = self._directory.files
        gone = [path for path in self._files if path not in found]
        for path in gone:
            self._files.pop(path).leave(self._entries)
        for path, file in found.items():
            if file.cluster is not None:
                self._files.setdefault(path, Declaration(path, file.cluster)).wanted = file.cluster
        return bool(gone)

    def _publish(self) -> None:
        before = self.cluster_set
        self.cluster_set = (
            self._entries.cluster_set() if self._tokens is None else ClusterSet(tokens=self._tokens.tokens)
        )
        self._tell(before.clusters, self.cluster_set.clusters)
        self._recall()
        self._on_change(self.cluster_set)

    def _tell(self, before: Mapping[str, config.Cluster], now: Mapping[str, config.Cluster]) -> None:
        for name in before.keys() - now.keys():
            log.warning("a cluster may post no more; what its ring holds is still delivered", extra={"cluster": name})
        if before:
            for name in now.keys() - before.keys():
                log.info("a cluster may post from now on", extra={"cluster": name})

    def _recall(self) -> None:
        """Put together what is declared and what was."""
        self._former |= {name: _routing(one) for name, one in self.cluster_set.clusters.items()}
        routings = {name: one for name, one in self._former.items() if one != _ALL}
        changed, self._routings = routings != self._routings, routings
        if self._remembers and (changed or not retained.exists(self._spool)):
            self._write_down()

    def _write_down(self) -> None:
        try:
            retained.write(self._spool, self._routings)
        except OSError as problem:
            log.error(  # noqa: TRY400 - the error says it all
                "where clusters' events go cannot be written down; check the disk, or after a restart the events of a "
                "cluster that is removed until then go to all destinations",
                extra={"path": str(self._spool), "error": str(problem)},
            )

    def _problems(self) -> list[str]:
        found = [f"receive.tokens_file {self._tokens.error}"] if self._tokens and self._tokens.error else []
        for source in (*self._members, *self._files.values()):
            found += source.problems
        if self._directory is not None:
            found += [self._directory.problem] if self._directory.problem else []
            found += [file.problem for file in self._directory.files.values() if file.problem]
        return found


def _bounds(settings: config.Config) -> Bounds:
    spool, tls = settings.spool, settings.receive.tls
    topic = spool.type == "kafka"
    # The newest segment of a partition stays on the brokers' disks, whether anybody wants it or not.
    newest = spool.partitions * topic_segment_bytes(spool.max_bytes, spool.partitions, settings.receive.max_body)
    return Bounds(
        spool.max_bytes,
        newest if topic else spool.segment_bytes,
        most_clusters(settings),
        frozenset(destination.name for destination in settings.destinations),
        tls is not None and tls.client_ca_file is not None,
        topic,
    )


def _routing(cluster: config.Cluster) -> RetainedCluster:
    wanted = cluster.destinations
    return RetainedCluster(None if wanted is None else frozenset(wanted), cluster.labels)
