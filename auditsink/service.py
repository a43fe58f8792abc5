"""The whole sink: builds the parts, starts them in order, stops them in order.

Up:   spool (locked, recovered), destinations, forwarders, receive port, admin port.
Down: receive port refuses (503 + Retry-After), requests under way end, forwarders deliver what they can in the time
      that is left, receive port closes, spool closes (what was accepted is durable, cursors synced), admin port.
"""

import asyncio
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from auditsink.admin.app import AdminRoute
from auditsink.admin.server import AdminServer
from auditsink.admin.view import View
from auditsink.audit import eventlist
from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.registry import ClustersError, Registry
from auditsink.common.clock import Clock, SystemClock
from auditsink.common.operator_error import OperatorError
from auditsink.common.redact import redact
from auditsink.config import Config, DestinationSection
from auditsink.config.changes import Changes, between
from auditsink.config.changes import lost as losses
from auditsink.delivery.destination import Destination, Limits
from auditsink.delivery.filter import EventFilter
from auditsink.destinations import build
from auditsink.destinations.bodies import SharedBodies
from auditsink.destinations.starting import StartingDestination, raise_mistake
from auditsink.destinations.wrappers import WithLabels
from auditsink.forward.batching import Boundaries
from auditsink.forward.forwarder import CLOSE_SECONDS, Forwarder
from auditsink.forward.retry import Backoff
from auditsink.load import ConfigError, files, places
from auditsink.observe import logs
from auditsink.observe.expiry import Expiries
from auditsink.observe.snapshot import Phase, RefusedReload, Snapshot, Trend
from auditsink.receive import ReceiveServer
from auditsink.receive.statistics import NOTHING_RECEIVED
from auditsink.spool import Spool
from auditsink.spooling import (
    SinkSpool,
    all_dead_letters,
    dead_letters_of,
    open_spool,
    readable,
    restored,
    unread,
    uploader_of,
)

if TYPE_CHECKING:  # their client of object stores is an extra, and loads where it is configured
    from auditsink.backup.uploader import Uploader
    from auditsink.evidence.make.checkpointer import Checkpointer

log = logging.getLogger("auditsink.service")

DRAIN_SHARE = 0.3
"""Of the time for stopping: for requests that are being read. One that takes longer is repeated by its apiserver."""
LEAVE_SECONDS = 2.0
"""For a destination that is removed or changed: what is under way may end, the rest is delivered again."""
LAST_COPY_SECONDS = 2.0
"""For the end of the copy, however late it is: a start elsewhere then has everything, and need not wait."""
FORWARD_SHARE = 0.8
"""Of the time for stopping, from its beginning: until then forwarders may deliver. The rest is for the last sync."""


class Guest(Protocol):
    """Somebody whose place the sink takes: paths on the admin port, and work beside the spool."""

    def routes(self, view: View) -> Sequence[AdminRoute]:
        """Paths that go before ours."""
        ...

    async def run(self, view: View, spool: Spool) -> None:
        """From when the ports are open, until it is cancelled."""
        ...


class StartError(OperatorError):
    """The sink cannot start. One line per cause: which key or path, and what to do."""


class ReloadError(OperatorError):
    """A changed configuration is not taken up, and nothing has changed. One line per cause."""


class Sink:
    """One sink, from `start` to `stop`. All methods but `fail` belong to the loop's thread."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        guest: Guest | None = None,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        """`reread`: the configuration as its file says it now; raises ConfigError. Blocks."""
        self._config = config
        self._reread_file = reread
        self._guest = guest
        self._visit: asyncio.Task[None] | None = None
        self._clock = clock or SystemClock()
        self._phase = Phase.STARTING
        self._failures: list[str] = []
        self._trend = Trend()
        self._expiries = Expiries(config)
        self._forwarders: dict[str, Forwarder] = {}
        self._destinations: list[DestinationSection] = []  # those in force; shared with the admin port
        self._leaving: set[Forwarder] = set()
        self._reloading = asyncio.Lock()
        self.reloads: Counter[str] = Counter()
        self._refused: RefusedReload | None = None
        self._checkpointer: Checkpointer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._bodies = SharedBodies()
        self._boundaries: defaultdict[tuple[str, Limits], Boundaries] = defaultdict(Boundaries)
        self._uploader: Uploader | None = None
        self._spool: SinkSpool
        self._registry: Registry
        self._receive: ReceiveServer | None = None
        self._admin: AdminServer

    def __repr__(self) -> str:
        return f"<Sink {self._phase.value}, {len(self._forwarders)} destinations, failures: {self._failures}>"

    async def start(self) -> None:
        """Everything up, or StartError and nothing left behind."""
        if fault := eventlist.interpreter_fault():
            raise StartError(fault)
        if missing := files.missing(self._config):
            raise StartError("\n".join(missing))
        mistakes, risks = await places.look(self._config)
        if mistakes:
            raise StartError("\n".join(mistakes))
        async with AsyncExitStack() as undo:
            try:
                await self._start(undo)
            except OperatorError as problem:
                self._phase = Phase.STOPPING  # what ends now was asked to
                raise StartError(str(problem)) from problem
            undo.pop_all()
        self._phase = Phase.RUNNING
        for risk in risks:
            log.warning("risky: %s", risk)

    async def stop(self, seconds: float) -> None:
        """Everything down within so many seconds, as far as the disk answers. What fails on the way is logged."""
        began = self._clock.monotonic()

        def until(share: float) -> float:
            return max(0.0, began + seconds * share - self._clock.monotonic())

        self._phase = Phase.STOPPING
        if self._receive is not None:
            self._receive.stop_accepting()
        if self._visit is not None:
            self._visit.cancel()
        if self._receive is not None:
            await self._step("draining the receive port", self._receive.drain(until(DRAIN_SHARE)))
        readers = [reader.stop(until(FORWARD_SHARE) - CLOSE_SECONDS) for reader in self._readers]
        await self._step("stopping the forwarders", asyncio.gather(*readers))
        if self._receive is not None:
            await self._step("closing the receive port", self._receive.close())
        await self._step("closing the spool", asyncio.wait_for(asyncio.to_thread(self._spool.stop), until(1.0)))
        if self._uploader is not None:
            await self._step("copying the end of the spool", self._uploader.finish(max(until(1.0), LAST_COPY_SECONDS)))
        await self._step("closing the admin port", self._admin.close())

    def fail(self, why: str) -> None:
        """Something died that nobody stopped: turn readiness off and say why. May be called from any thread."""
        self._failures.append(why)

    def snapshot(self) -> Snapshot:
        """What all parts say of themselves now."""
        spool = self._spool.statistics()
        return Snapshot(
            self._phase,
            tuple(self._failures),
            NOTHING_RECEIVED if self._receive is None else self._receive.statistics(),
            spool,
            tuple(reader.statistics() for reader in self._readers),
            self._declared(),
            logs.skipped(),
            reloads=dict(self.reloads),
            refused_reload=self._refused,
            at_ns=self._clock.wall_ns(),
            growth=self._trend.add(self._clock.monotonic(), sum(ring.wanted_bytes for ring in spool.rings)),
            expiries=self._expiries.known(),
            backup=None if self._uploader is None else self._uploader.statistics(),
        )

    def _declared(self) -> dict[str, int] | None:
        """Bytes reserved for each cluster that is one; None where clusters are not declared."""
        evidence, reserved = self._config.evidence, self._registry.reserved
        if reserved is not None and evidence is not None and evidence.deliver_as:
            reserved.setdefault(evidence.deliver_as, 0)  # the sink's own
        return reserved

    @property
    def _readers(self) -> "list[Forwarder | Checkpointer]":
        """All that have a cursor in each ring."""
        return [*self._forwarders.values(), *([] if self._checkpointer is None else [self._checkpointer])]

    def addresses(self) -> dict[str, str]:
        """Where the two ports really are, as URLs."""
        scheme = "https" if self._config.receive.tls else "http"
        found = {"admin": f"http://{self._admin.address}"}
        if self._receive is not None:
            found["receive"] = f"{scheme}://{self._receive.address}{self._config.receive.path}"
        return found

    async def _start(self, undo: AsyncExitStack) -> None:
        config = self._config
        self._registry = Registry(config, on_change=self._reserve)
        prepared = await restored(config, self._clock)
        self._spool = await open_spool(config, self._clock)
        undo.push_async_callback(asyncio.to_thread, self._spool.stop)
        if isinstance(self._spool, Spool):
            self._registry.remember(self._spool.rings)
            if prepared is not None:
                self._uploader = uploader_of(config, self._spool, prepared, self._clock)
                undo.push_async_callback(self._uploader.finish, 0.0)
                self._watch("copying the spool", asyncio.create_task(self._uploader.run()))
        self._reserve(self._registry.cluster_set)
        loop = asyncio.get_running_loop()
        self._spool.start(loop.call_soon_threadsafe, loop.call_soon)
        destinations = config.destinations if config.forwards() else []
        forwarders = await self._built(destinations)
        for one, forwarder in zip(destinations, forwarders, strict=True):
            undo.push_async_callback(forwarder.stop, 0.0)
            self._forwarders[one.name] = forwarder
        self._destinations.extend(destinations)
        if config.evidence is not None and isinstance(self._spool, Spool):
            from auditsink.evidence.make import build as evidence  # noqa: PLC0415 - loads where it is wanted

            self._checkpointer = evidence.checkpointer(config.evidence, self._spool, clock=self._clock)
            undo.push_async_callback(self._checkpointer.stop, 0.0)
            self._watch("making checkpoints", asyncio.create_task(self._checkpointer.run()))
        for name, forwarder in self._forwarders.items():
            self._run(name, forwarder)
        if config.receives():
            self._receive = ReceiveServer(config.receive, self._spool, self._registry, clock=self._clock)
            await self._receive.start()
            undo.push_async_callback(self._receive.close)
        view = View(
            snapshot=self.snapshot,
            rings=lambda: readable(self._spool),
            dead_letters=lambda: all_dead_letters(self._spool, config),
            unread=unread(config),
            destinations=self._destinations,
            expiries=self._expiries,
            build=self._parts,
            reload=self.reread,
            clock=self._clock,
        )
        self._admin = AdminServer(config.admin, view, self._guest.routes(view) if self._guest else ())
        self._watch("the admin port", self._admin.start())
        if self._guest is not None and isinstance(self._spool, Spool):
            self._visit = asyncio.create_task(self._guest.run(view, self._spool))
            self._watch("taking another's place", self._visit)

    async def _built(self, sections: Sequence[DestinationSection]) -> list[Forwarder]:
        """A forwarder for each. Raises DestinationError for settings that cannot work, and nothing is left behind."""
        starting = [StartingDestination(section, self._clock, bodies=self._bodies) for section in sections]
        try:
            await asyncio.gather(*(destination.start() for destination in starting))
            raise_mistake(starting)
            return [self._forwarder(one, destination) for one, destination in zip(sections, starting, strict=True)]
        except BaseException:
            for destination in starting:
                await destination.close()
            raise

    def _run(self, name: str, forwarder: Forwarder) -> None:
        self._watch(f"delivery to {name}", asyncio.create_task(forwarder.run()), lambda: forwarder in self._leaving)

    async def reload(self, new: Config, *, force: bool = False) -> Changes:
        """Take up a changed configuration: destinations, clusters, limits, the log's level.

        No connection and no event is lost on the way. Raises ReloadError, and all is as it was. `force`: remove a
        destination although it has not got everything.
        """
        async with self._reloading:
            changes = between(self._config, new)
            try:
                await self._reload(changes, force=force)
            except OperatorError as problem:
                self._refuse(str(problem))
                raise ReloadError(str(problem)) from problem
            self.reloads["applied" if changes.any else "unchanged"] += 1
            self._refused = None
            return changes

    def _refuse(self, why: str) -> None:
        self.reloads["refused"] += 1
        self._refused = RefusedReload(redact(why.partition("\n")[0]), self._clock.wall_ns())

    async def reread(self, *, force: bool = False) -> Changes:
        """Read the configuration's file again and take it up. Raises ReloadError."""
        if self._reread_file is None:
            raise ReloadError("this sink runs without a file (-c FILE), so there is none to be read again")
        try:
            new = await asyncio.to_thread(self._reread_file)
        except ConfigError as problem:
            self._refuse(str(problem))
            raise ReloadError(str(problem)) from None
        return await self.reload(new, force=force)

    async def _reload(self, changes: Changes, *, force: bool) -> None:
        if self._phase is not Phase.RUNNING:
            raise ReloadError(f"the sink is {self._phase.value}; nothing is taken up")
        if mistakes := files.missing(changes.target) or (await places.look(changes.target))[0]:
            raise ReloadError("\n".join(mistakes))
        pending = {destination.name: destination.pending for destination in self.snapshot().destinations}
        if not force and (lost := losses(changes.removed, pending)):
            raise ReloadError("\n".join(lost))
        sections = [*changes.added, *changes.changed]
        forwarders = await self._built(sections)
        try:
            if changes.clusters or changes.added or changes.removed:  # clusters name destinations
                await asyncio.to_thread(self._registry.adopt, changes.target)
        except ClustersError:
            await asyncio.gather(*(forwarder.stop(0.0) for forwarder in forwarders))
            raise
        await self._let_go([*changes.removed, *(one.name for one in changes.changed)])
        for name in changes.removed:
            self._spool.forget(name)
        for one, forwarder in zip(sections, forwarders, strict=True):
            self._forwarders[one.name] = forwarder
            self._run(one.name, forwarder)
        self._config = changes.target
        self._destinations[:] = changes.target.destinations
        if changes.limits and self._receive is not None:
            self._receive.adopt(changes.target.receive)
        if changes.log:
            logs.set_level(changes.target.log)

    async def _let_go(self, names: Sequence[str]) -> None:
        """Stop these; what is under way may end."""
        leaving = [self._forwarders.pop(name) for name in names]
        self._leaving.update(leaving)
        await asyncio.gather(*(forwarder.stop(LEAVE_SECONDS, drain=False) for forwarder in leaving))
        self._leaving.difference_update(leaving)

    def _reserve(self, cluster_set: ClusterSet) -> None:
        self._spool.reserve(cluster_set.reserved)

    def _forwarder(self, one: DestinationSection, destination: StartingDestination) -> Forwarder:
        return Forwarder(
            destination.built,
            start=None if destination.built is not destination else destination.start,
            spool=self._spool.source(one.name),
            dead_letters=dead_letters_of(self._spool, self._config, one),
            files=[path for _, path in files.named(one)],
            event_filter=_filter(one),
            routing=self._registry,
            boundaries=self._boundaries[destination.type, destination.limits],
            backoff=Backoff(one.backoff.initial, one.backoff.max, random.random),
            clock=self._clock,
        )

    def _parts(self, one: DestinationSection) -> tuple[Destination, EventFilter | None]:
        """What is configured for a destination, built anew. Blocks. Raises DestinationError."""
        event_filter = _filter(one)
        return WithLabels(build(one, clock=self._clock), self._config.spool.path), event_filter

    def _watch(self, what: str, task: "asyncio.Task[None]", leaving: Callable[[], bool] = lambda: False) -> None:
        """A part's own task may only end when the sink stops, or when it is `leaving`."""

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if self._phase is Phase.STOPPING or task.cancelled() or leaving():
                return
            problem = task.exception()
            log.critical("a part of the sink died", extra={"part": what}, exc_info=problem)
            how = f"died of {type(problem).__name__}" if problem else "ended by itself"
            self.fail(f"{what} {how}; restart the sink and report it with its log")

        task.add_done_callback(ended)
        self._tasks.add(task)

    async def _step(self, what: str, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except Exception:
            log.exception("a step of the stop failed; the next ones follow", extra={"step": what})


def _filter(section: DestinationSection) -> EventFilter | None:
    """What the destination gets of the trail; None for everything. Raises DestinationError."""
    if section.filter is None:
        return None
    from auditsink.filters import build as filters  # noqa: PLC0415 - loads where it is wanted

    return filters.build(section)
