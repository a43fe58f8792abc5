"""Destinations that note what arrives and keep none of it: a long run would not fit into memory."""

from pathlib import Path
from typing import Any, Self

from ledger import Arrivals

from auditsink.testing.collector import Collector
from auditsink.testing.hec import Envelope, HecServer
from auditsink.testing.scripted import Received


class _Noting(list[Any]):
    """Stands where a scripted server keeps its events."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def __iadd__(self, several: Any) -> Self:  # type: ignore[misc]  # list's `+` makes a list, and nobody adds
        self._arrivals.add(bytes(one.event) if isinstance(one, Envelope) else one for one in several)
        return self


class _Nothing(list[Received]):
    def append(self, _item: Received) -> None:
        """Forget it."""


class NotingCollector(Collector):
    """A collector with `arrivals` instead of `events`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.arrivals = Arrivals()
        self.events = _Noting(self.arrivals)
        self.requests = _Nothing()


class NotingHec(HecServer):
    """A HEC with `arrivals` instead of `events`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.arrivals = Arrivals()
        self.events = _Noting(self.arrivals)
        self.requests = _Nothing()


class NotedFile:
    """A `file` destination's output, read on from where it was left: a torn last line is left for the next time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrivals = Arrivals()
        self._read = 0

    def look(self) -> Arrivals:
        """Take note of what is new."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.arrivals.add([line[:-1]])
                    self._read += len(line)
        return self.arrivals
