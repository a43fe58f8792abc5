"""The sink's numbers as fluent-bit tells its own: the documents of `/api/v1` and `/api/v2`. Pure.

Records are events. All counters run since the start of the process. What there is no counterpart of is left out.

Whoever watches fluent-bit asks once a minute whether `retries` or `errors` have grown. Counted attempt by attempt that
misleads twice: one attempt that is repeated and succeeds is no trouble, and a destination that is paused probes so
rarely that most minutes look well. So trouble is counted by its time:

- `retries` grows by one when trouble has lasted `GRACE_SECONDS`, and then every `TICK_SECONDS` while it lasts;
- a pause (nothing succeeds until a person acts) grows `retries` and `errors` from its first second, every
  `TICK_SECONDS` while it lasts.

Whoever asks once a minute sees growth exactly while there is trouble that does not end by itself within half a minute.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from auditsink import __version__
from auditsink.fluentbit.translate import FluentOutput, HealthRules
from auditsink.forward.reporting import DestinationState, ForwarderStatistics
from auditsink.observe import health
from auditsink.observe.snapshot import Snapshot

GRACE_SECONDS = 30.0
"""Of trying again: with the usual backoff some five attempts have failed by then."""
TICK_SECONDS = 15.0
"""Four in the minute after which the extension asks again, so that none of its questions falls between two."""


@dataclass(slots=True)
class _Stretch:
    """A kind of trouble: whole ticks that are over, and since when it lasts now (None: it does not)."""

    grace: float
    done: int = 0
    since: float | None = None
    until: float = 0.0

    def look(self, now: float, *, on: bool) -> None:
        if on:
            self.since = now if self.since is None else self.since
            self.until = now
        elif self.since is not None:
            self.done += self._running()
            self.since = None

    def _running(self) -> int:
        lasted = 0.0 if self.since is None else self.until - self.since - self.grace
        return 0 if self.since is None or lasted < 0 else 1 + int(lasted // TICK_SECONDS)

    @property
    def ticks(self) -> int:
        return self.done + self._running()

    @property
    def serious(self) -> bool:
        return self._running() > 0


class DestinationTrouble:
    """One destination's, looked at every second or so. `now`: monotonic seconds."""

    def __init__(self) -> None:
        self._retrying = _Stretch(GRACE_SECONDS)
        self._paused = _Stretch(0.0)

    def look(self, now: float, one: ForwarderStatistics) -> None:
        """Take note of its state."""
        paused = one.state is DestinationState.MISCONFIGURED or bool(one.held)
        self._retrying.look(now, on=one.state is DestinationState.RETRYING)
        self._paused.look(now, on=paused)

    @property
    def retries(self) -> int:
        """How far trouble has driven the counter `retries`."""
        return self._retrying.ticks + self._paused.ticks

    @property
    def pauses(self) -> int:
        """How far pauses have driven the counter `errors`."""
        return self._paused.ticks

    @property
    def now(self) -> bool:
        """Whether somebody should look."""
        return self._retrying.serious or self._paused.serious


class Window:
    """How much counters have grown within so many seconds, as fluent-bit's `hc_period` has it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, errors: int, retries_failed: int) -> None:
        """The counters of now."""
        self._samples.append((now, errors, retries_failed))
        while len(self._samples) > 2 and self._samples[1][0] <= now - self._seconds:
            self._samples.popleft()

    def grown(self) -> tuple[int, int]:
        """By how much each is larger than at the beginning of the period."""
        if not self._samples:
            return 0, 0
        (_, *before), (_, *after) = self._samples[0], self._samples[-1]
        return after[0] - before[0], after[1] - before[1]


INPUT = "http.0"
EDITION = "auditsink"


@dataclass(frozen=True, slots=True)
class OutputNumbers:
    """One output's counters, by fluent-bit's names.

    `errors`: dead letters, and the ticks of a pause. `retries`: see above. `retries_failed`: 1 for each event that
    was dropped because the ring was full. `retried_records`: attempts that were repeated.
    """

    proc_records: int = 0
    proc_bytes: int = 0
    errors: int = 0
    retries: int = 0
    retries_failed: int = 0
    dropped_records: int = 0
    retried_records: int = 0


@dataclass(slots=True)
class _Start:
    """What was counted before this process, which the ring remembers."""

    delivered: int
    dead_lettered: int
    dropped: int


@dataclass(slots=True)
class FluentNumbers:
    """Looks at snapshots, and answers in fluent-bit's words.

    `started`: epoch seconds. `rejects`: what happens when the ring is full (else the oldest goes).
    """

    outputs: tuple[FluentOutput, ...]
    filters: tuple[str, ...]
    rules: HealthRules
    started: float
    rejects: bool = False
    _starts: dict[str, _Start] = field(default_factory=dict)
    _troubles: dict[str, DestinationTrouble] = field(default_factory=dict)
    _window: Window = field(init=False)

    def __post_init__(self) -> None:
        self._window = Window(self.rules.period)

    def look(self, now: float, snapshot: Snapshot) -> None:
        """Every second or so. `now`: monotonic seconds."""
        for one in snapshot.destinations:
            self._troubles.setdefault(one.name, DestinationTrouble()).look(now, one)
            self._starts.setdefault(one.name, _Start(*_ends(one)))
        numbers = self.of(snapshot).values()
        self._window.add(
            now, sum(number.errors for number in numbers), sum(number.retries_failed for number in numbers)
        )

    def healthy(self, snapshot: Snapshot) -> bool:
        """Whether batches are taken, and go out, and nothing was given up within the period."""
        refuses = self.rejects and _full(snapshot)
        if refuses or health.reasons(snapshot) or any(trouble.now for trouble in self._troubles.values()):
            return False
        errors, retries_failed = self._window.grown()
        return errors <= self.rules.errors and retries_failed <= self.rules.retries_failed

    def of(self, snapshot: Snapshot) -> dict[str, OutputNumbers]:
        """By fluent-bit's name of the output."""
        found = {destination.name: destination for destination in snapshot.destinations}
        taken = OutputNumbers(proc_records=snapshot.receive.events, proc_bytes=snapshot.receive.bytes)
        return {
            output.name: taken if output.destination is None else self._output(found.get(output.destination))
            for output in self.outputs
        }

    def _output(self, one: ForwarderStatistics | None) -> OutputNumbers:
        if one is None:
            return OutputNumbers()
        trouble = self._troubles.get(one.name, DestinationTrouble())
        delivered, dead_lettered, dropped = _ends(one)
        start = self._starts.get(one.name, _Start(delivered, dead_lettered, dropped))
        refused, lost = dead_lettered - start.dead_lettered, dropped - start.dropped
        return OutputNumbers(
            proc_records=delivered - start.delivered,
            proc_bytes=one.bytes,
            errors=refused + trouble.pauses,
            retries=trouble.retries,
            retries_failed=lost,
            dropped_records=lost + refused,
            retried_records=sum(one.retries.values()),
        )

    def metrics(self, snapshot: Snapshot) -> dict[str, Any]:
        """The document of `/api/v1/metrics`."""
        receive = snapshot.receive
        taken = {"records": receive.events, "bytes": receive.bytes}
        unchanged = {"drop_records": 0, "add_records": 0, "drop_bytes": 0}  # the filter drops and makes no records
        return {
            "input": {INPUT: taken},
            "filter": {name: {**unchanged, **taken} for name in self.filters},
            "output": {name: _document(one) for name, one in self.of(snapshot).items()},
        }


def _ends(one: ForwarderStatistics) -> tuple[int, int, int]:
    accounts = one.accounts.values()
    return (
        sum(account.delivered for account in accounts),
        sum(account.dead_lettered for account in accounts),
        sum(account.dropped for account in accounts),
    )


def _document(one: OutputNumbers) -> dict[str, int]:
    return {name: getattr(one, name) for name in OutputNumbers.__slots__}


def about() -> dict[str, Any]:
    """`/`. The version is ours: nobody is told that this is a fluent-bit."""
    return {"fluent-bit": {"version": __version__, "edition": EDITION, "flags": []}}


def uptime(seconds: float) -> dict[str, Any]:
    """The document of `/api/v1/uptime`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    said = f"{days} days, {hours} hours, {minutes} minutes and {whole % 60} seconds"
    return {"uptime_sec": whole, "uptime_hr": f"auditsink has been running: {said}"}


def storage(snapshot: Snapshot) -> dict[str, Any]:
    """`/api/v1/storage`: a segment of the ring is a chunk; none is kept in memory."""
    spool = snapshot.spool
    wanted = sum(ring.wanted_bytes for ring in spool.rings)
    held = {"total": spool.segments, "up": 0, "down": spool.segments, "busy": 0, "busy_size": f"{wanted}b"}
    status = {"overlimit": _full(snapshot), "mem_size": f"{snapshot.receive.in_flight_bytes}b", "mem_limit": "0b"}
    layer = {"total_chunks": spool.segments, "mem_chunks": 0, "fs_chunks": spool.segments}
    return {
        "storage_layer": {"chunks": {**layer, "fs_chunks_up": 0, "fs_chunks_down": spool.segments}},
        "input_chunks": {INPUT: {"status": status, "chunks": held}},
    }


def _full(snapshot: Snapshot) -> bool:
    return any(not ring.room_bytes for ring in snapshot.spool.rings)


_OUTPUT = {
    "proc_records": "Events delivered.",
    "proc_bytes": "Bytes of events delivered.",
    "errors": "Dead letters, and quarter minutes of a pause.",
    "retries": "Quarter minutes of trouble that lasted longer than half a minute.",
    "retries_failed": "Events dropped because the ring was full.",
    "dropped_records": "Events dropped, and dead letters.",
    "retried_records": "Attempts that were repeated.",
}


def families(numbers: FluentNumbers, snapshot: Snapshot, up: float) -> Iterator[Metric]:
    """What `/api/v1/metrics/prometheus` tells; `up`: seconds since the start."""
    receive = snapshot.receive
    taken = (("records", receive.events), ("bytes", receive.bytes))
    for name, value in taken:
        yield _counter(f"input_{name}", f"Input {name}.", {INPUT: value})
    for name, value in (*taken, ("add_records", 0), ("drop_records", 0), ("drop_bytes", 0)):
        yield _counter(f"filter_{name}", f"Filter {name}.", dict.fromkeys(numbers.filters, value))
    outputs = numbers.of(snapshot)
    for field_name, text in _OUTPUT.items():
        values = {name: getattr(one, field_name) for name, one in outputs.items()}
        yield _counter(f"output_{field_name}", text, values)
    yield GaugeMetricFamily("fluentbit_uptime", "Seconds since the start.", float(int(up)))
    yield GaugeMetricFamily("process_start_time_seconds", "Seconds since the epoch.", numbers.started)
    info = GaugeMetricFamily("fluentbit_build_info", "The version.", labels=["version", "edition"])
    info.add_metric([__version__, EDITION], 1.0)
    yield info


def more_families(numbers: FluentNumbers, snapshot: Snapshot) -> Iterator[Metric]:
    """What `/api/v2/metrics/prometheus` tells beside these."""
    spool = snapshot.spool
    start = "fluentbit_process_start_time_seconds"
    yield GaugeMetricFamily(start, "Seconds since the epoch.", numbers.started)
    chunks = {"chunks": spool.segments, "mem_chunks": 0, "fs_chunks": spool.segments, "fs_chunks_up": 0}
    for name, value in (chunks | {"fs_chunks_down": spool.segments}).items():
        yield GaugeMetricFamily(f"fluentbit_storage_{name}", "Segments of the ring.", float(value))
    full = float(_full(snapshot))
    wanted = sum(ring.wanted_bytes for ring in spool.rings)
    for name, text, amount in (
        ("ingestion_paused", "1 when batches are refused.", full if numbers.rejects else 0.0),
        ("storage_overlimit", "1 when the ring is full.", full),
        ("storage_memory_bytes", "Bytes of requests under way.", float(snapshot.receive.in_flight_bytes)),
        ("storage_chunks", "Segments of the ring.", float(spool.segments)),
        ("storage_chunks_up", "None is held in memory.", 0.0),
        ("storage_chunks_down", "Segments of the ring.", float(spool.segments)),
        ("storage_chunks_busy_bytes", "Bytes that some destination has not got.", float(wanted)),
    ):
        yield _gauge(f"input_{name}", text, {INPUT: amount})
    room = 100.0 * (1 - wanted / spool.max_bytes) if spool.max_bytes else 0.0
    names = [output.name for output in numbers.outputs]
    yield _gauge("output_chunk_available_capacity_percent", "Of the ring.", dict.fromkeys(names, max(0.0, room)))
    connections = {destination.name: float(destination.in_flight) for destination in snapshot.destinations}
    busy = {one.name: connections.get(one.destination or "", 0.0) for one in numbers.outputs}
    yield _gauge("output_upstream_busy_connections", "Attempts under way.", busy)


def _counter(name: str, text: str, values: Mapping[str, int]) -> Metric:
    return _filled(CounterMetricFamily(f"fluentbit_{name}", text, labels=["name"]), values)


def _gauge(name: str, text: str, values: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"fluentbit_{name}", text, labels=["name"]), values)


def _filled(family: Any, values: Mapping[str, float]) -> Metric:
    for name, value in values.items():
        family.add_metric([name], float(value))
    metric: Metric = family
    return metric


class Families:
    """What `prometheus_client` asks of a registry."""

    def __init__(self, several: Iterable[Metric]) -> None:
        self._several = list(several)

    def collect(self) -> Iterator[Metric]:
        """All families, as Prometheus collects them."""
        yield from self._several
