"""`auditsink check`: what a configuration would do, what is risky, and whether destinations and store answer."""

import asyncio
import shutil
from pathlib import Path

import click
import msgspec

from auditsink.backup import BackupError, require
from auditsink.cli.settings import config_option, read_config
from auditsink.cli.tables import safe
from auditsink.cli.terminal import Style, is_terminal, styled
from auditsink.clusters.registry import ClustersError, Registry
from auditsink.common import resolver, timestamps
from auditsink.common.clock import SystemClock
from auditsink.common.listen import ListenError, listen
from auditsink.common.units import Duration, Size
from auditsink.config import BackupSection, Config, DestinationSection, FileConfig, LocalBackup, LocalConfig
from auditsink.config.backup import PLACE
from auditsink.delivery.destination import DestinationError
from auditsink.delivery.outcome import Delivered, Outcome, Retry
from auditsink.destinations.starting import StartingDestination
from auditsink.evidence import EvidenceError
from auditsink.evidence.make import build as evidence
from auditsink.filters import build as filters
from auditsink.filters import rules
from auditsink.load import files, places
from auditsink.observe.expiry import Expiries
from auditsink.receive.certificates import Certificates
from auditsink.receive.errors import ReceiveError
from auditsink.spool import SpoolError
from auditsink.spool.keys import Keyring
from auditsink.spooling import kafka_extra

PROBE_SECONDS = 10


@click.command("check")
@config_option
@click.option(
    "--connect",
    is_flag=True,
    help="Also ask the destinations, the copy's store and the spool's topic whether they would do.",
)
def command(config_file: Path | None, connect: bool) -> int:
    """Say what a configuration would do, and what is wrong or risky with it.

    Exit code 1 when it cannot work, with the key and the remedy; risks alone are no error.

    \b
    Example:
      auditsink check -c /etc/auditsink/config.yaml --connect
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    config = read_config(config_file)
    click.echo("This sink")
    for sentence in config.plan():
        click.echo(f"  {safe(sentence)}")
    filtered, filter_risks, broken = _filters(config)
    for sentence in filtered:
        click.echo(f"  {safe(sentence)}")
    risks = [
        *config.risks(),
        *filter_risks,
        *files.exposed(config),
        *places.cramped(config),
        *_room(config),
        *_ports(config),
        *_ends(config),
    ]
    broken = [*broken, *_spool(config, risks)]
    if risks:
        click.echo("Risks")
    for risk in risks:
        click.echo(f"  {safe(risk)}")
    mistakes = files.missing(config) or [
        *places.collisions(config), *_certificates(config), *_keys(config), *_copy(config), *broken, *_clusters(config)
    ]  # fmt: skip
    if mistakes:
        click.echo(f"It would not run: {len(mistakes)} to mend.")
        raise click.ClickException("\n".join(mistakes))
    if connect:
        _connect(config)
    count = "1 risk" if len(risks) == 1 else f"{len(risks)} risks"
    verdict = f"It can run; {count} to know of." if risks else "It can run."
    click.echo(styled(verdict, Style.LOOK if risks else Style.GOOD) if is_terminal() else verdict)
    return 0


def _connect(config: Config) -> None:
    """Ask all whom the sink would talk to. Raises ClickException."""
    click.echo("Destinations")
    away = resolver.run(_probe_all(config))
    if away:
        several = "1 destination takes" if len(away) == 1 else f"{len(away)} destinations take"
        click.echo(f"It can run, but {several} nothing now: events would wait in the spool.")
    if config.spool.backup is not None:
        click.echo("Backup")
        if problem := resolver.run(_tried(config.spool.backup)):
            click.echo("It can run beside a spool that is there, but nothing would be copied.")
            away.append(f"{PLACE}: {problem}")
    if config.spool.type == "kafka":
        click.echo("Topics")
        away += resolver.run(_tried_topics(config))
    if away:
        raise click.ClickException("\n".join(away))


async def _tried_topics(config: Config) -> list[str]:
    """What would keep the sink from starting on them; says what it would find. Raises ClickException."""
    try:
        with kafka_extra():
            from auditsink.kafka_spool.topic import tried  # noqa: PLC0415 - aiokafka, where it is asked for

        most = config.receive.max_body
        found, wrong = await tried(
            config.spool, most if config.receives() else None, most if config.forwards() else None
        )
    except SpoolError as problem:
        return [str(problem)]
    for sentence in found:
        click.echo(f"  {safe(sentence)}")
    return wrong


def _copy(config: Config) -> list[str]:
    """Why the copy cannot be made at all, as far as it can be seen from here."""
    section = config.spool.backup
    if section is None:
        return []
    try:
        require()
    except BackupError as problem:
        return [str(problem)]
    why = places.unwritable(section.path, directory=True) if isinstance(section, LocalBackup) else None
    return [f"{PLACE}.path: {why}"] if why else []


async def _tried(section: BackupSection) -> str | None:
    """Why the copy cannot be made now; says what its store does, and what it holds."""
    from auditsink.backup.copies import listed, tried  # noqa: PLC0415 - its client of stores is an extra
    from auditsink.backup.store import CopyStore  # noqa: PLC0415

    section = msgspec.structs.replace(section, timeout=min(section.timeout, Duration(PROBE_SECONDS)))
    try:
        store = CopyStore(section)
        try:
            await tried(store, section)
            click.echo(
                f"  {section.root} {safe(section.where)}: can be listed, written to (one writer at a time), read and "
                "deleted from"
            )
            copies, problems = await listed(store, section)
        finally:
            store.close()
    except BackupError as problem:
        return str(problem)
    current = [one.manifest for one in copies if one.current]
    for one in current:
        complete = timestamps.seconds(one.complete_ns) if one.complete_ns else "never yet"
        click.echo(f"  holds a copy of {one.sink}, complete {complete}; an empty spool.path is restored from it")
    if not current:
        click.echo(f"  holds no copy of {section.name} yet")
    if waiting := len(copies) - len(current):
        click.echo(f"  older copies that wait for a person: {waiting}; see `auditsink spool backup ls`")
    return "; ".join(problems) or None


def _ports(config: Config) -> list[str]:
    """Ports that something listens on already: the sink itself, if it runs."""
    busy = []
    for key, text in (("receive.listen", config.receive.listen), ("admin.listen", config.admin.listen)):
        try:
            listen(key, text).close()
        except ListenError as problem:
            busy.append(f"{problem} (or it is this sink, which runs)")
    return busy


def _spool(config: Config, risks: list[str]) -> list[str]:
    """Why the spool cannot be where it is to be; what may be the fault of whoever asks is a risk."""
    why = places.unwritable(config.spool.path, directory=True) if config.spool.type == "disk" else None
    if why is None:
        return []
    if places.existing(config.spool.path).is_dir():
        risks.append(f"spool.path: {why}")
        return []
    return [f"spool.path: {why}"]


def _room(config: Config) -> list[str]:
    if config.spool.type == "kafka":
        return []
    existing = places.existing(config.spool.path)
    free = shutil.disk_usage(existing).free
    if free >= config.spool.max_bytes:
        return []
    much = f"{config.spool.max_bytes} is more than the {Size(free)} that are free in {existing}"
    return [f"spool.max_bytes: {much} (what the spool holds already counts as used)"]


def _filters(config: Config) -> tuple[list[str], list[str], list[str]]:
    """What the filters let through, what is risky about them, and what is wrong with the files they name."""
    plan: list[str] = []
    risks: list[str] = []
    mistakes: list[str] = []
    for place, one in enumerate(config.destinations):
        if one.filter is not None:
            try:
                policy = filters.policy_of(one)
            except DestinationError as problem:
                mistakes.append(str(problem))
                continue
            plan += rules.described(one.name, one.filter, policy)
            risks += [f"destinations[{place}].filter: {risk}" for risk in rules.risks(one.filter, policy)]
    return plan, risks, mistakes


def _ends(config: Config) -> list[str]:
    """Certificates that nobody can use now."""
    now = SystemClock().wall_ns() / 1e9
    risks = []
    for one in Expiries(config).read():
        if not one.begins <= now < one.at:
            when = f"ended {timestamps.seconds(int(one.at * 1e9))}" if one.at <= now else "is not valid yet"
            risks.append(f"{one.key}: the certificate {when}; write another into the file")
    return risks


def _certificates(config: Config) -> list[str]:
    """Why the receive port cannot show its certificate."""
    try:
        if config.receive.tls is not None and config.receives():
            Certificates(config.receive.tls)
    except ReceiveError as problem:
        return [str(problem)]
    return []


def _keys(config: Config) -> list[str]:
    mistakes = []
    try:
        if config.evidence is not None:
            evidence.signer(config.evidence)
    except EvidenceError as problem:
        mistakes.append(str(problem))
    try:
        if config.spool.encryption is not None:
            Keyring.load(config.spool.encryption.key_file)
    except SpoolError as problem:
        mistakes.append(str(problem))
    return mistakes


def _clusters(config: Config) -> list[str]:
    """What is wrong with the declared clusters and their files; says who gets what."""
    try:
        registry = Registry(config)
    except ClustersError as problem:
        return str(problem).splitlines()
    if registry.declared:
        reserved = sum(registry.cluster_set.reserved.values())
        click.echo("Clusters")
        click.echo(f"  {len(registry.cluster_set.clusters):,} may post")
        click.echo(f"  {Size(reserved)} of {config.spool.max_bytes} are reserved, the rest is shared by all")
    return list(registry.problems)


async def _probe_all(config: Config) -> list[str]:
    outcomes = await asyncio.gather(*(_probe(destination) for destination in config.destinations))
    mistakes = []
    for place, (one, outcome) in enumerate(zip(config.destinations, outcomes, strict=True)):
        if isinstance(outcome, Delivered):
            click.echo(f"  {one.name}: takes events")
        else:
            mistakes.append(f"destinations[{place}] ({one.name}): {outcome}")
    return mistakes


async def _probe(one: DestinationSection) -> Delivered | str:
    if isinstance(one, FileConfig | LocalConfig):  # to open them would make them
        return places.unwritable(one.path, directory=isinstance(one, LocalConfig)) or Delivered()
    destination = StartingDestination(one, SystemClock())
    started = await destination.start()
    if not isinstance(started, Delivered):
        return _judged(started)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return _judged(await destination.probe())
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS} s; check the address and the network"
    finally:
        await destination.close()


def _judged(outcome: Outcome) -> Delivered | str:
    if isinstance(outcome, Delivered):
        return outcome
    return f"{outcome.why}; it may pass, try again" if isinstance(outcome, Retry) else outcome.why
