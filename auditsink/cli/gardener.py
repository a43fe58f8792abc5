"""`auditsink gardener`: the extension for Gardener, and its admission."""

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from auditsink.cli.settings import read_config
from auditsink.config import Log
from auditsink.observe import logs

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_ANYWHERE = "0.0.0.0"  # noqa: S104 - a pod's Service leads here


def _common(service: str) -> Callable[[F], F]:
    """The options of both."""
    options = [
        click.option("-c", "--config", "config_file", type=_FILE, help="A ControllerConfiguration; docs/gardener.md."),
        click.option("--service", default=service, show_default=True, help="The Service in front of us."),
        click.option("--namespace", default="", help="Where we run. Left out: the pod's namespace."),
        click.option("--host", default=_ANYWHERE, show_default=True, help="Listen there."),
        click.option("--webhook-port", default=10250, show_default=True, help="HTTPS, for the API."),
        click.option("--health-port", default=8081, show_default=True, help="/healthz, /readyz and /metrics."),
        click.option("--webhook-url", default="", help="https://host:port for an API that cannot reach the Service."),
    ]

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.group("gardener")
def command() -> None:
    """Put a sink beside every control plane of a Gardener seed; see docs/gardener.md."""


@command.command("extension")
@_common("gardener-extension-audit")
@click.option("--monitoring", type=_DIRECTORY, help="A directory with alerts.yaml and dashboard.json for every sink.")
def extension(*, config_file: Path | None, monitoring: Path | None, **options: Any) -> int:
    """Reconcile Extensions, and give API servers their flags.

    Talks to the API as its pod's account, or as KUBECONFIG says. Of several replicas one does the work.

    \b
    Example:
      auditsink gardener extension -c /etc/auditsink-extension/config.yaml
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    controller, kube = _module("controller"), _module("kube")
    settings = controller.Settings(
        controller=_configuration(config_file),
        identity=_identity(),
        monitoring=monitoring,
        url=options.pop("webhook_url"),
        **options,
    )

    async def live() -> None:
        api = kube.Kube()
        try:
            await controller.Controller(settings, api).run()
        finally:
            await api.close()

    return _run(live)


@command.command("admission")
@_common("gardener-extension-audit-admission")
@click.option(
    "--garden-kubeconfig", type=_FILE, envvar="GARDEN_KUBECONFIG", help="The garden's API. Left out: our own."
)
def admission(*, config_file: Path | None, garden_kubeconfig: Path | None, **options: Any) -> int:
    """Check Shoots and the Secrets that they refer to before they are stored.

    \b
    Example:
      auditsink gardener admission --garden-kubeconfig /var/run/garden/kubeconfig --webhook-url https://audit.garden
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    server, kube = _module("admission.server"), _module("kube")

    async def live() -> None:
        runtime = kube.Kube()
        garden = kube.Kube.of_file(garden_kubeconfig) if garden_kubeconfig else runtime
        options["namespace"] = options["namespace"] or runtime.namespace
        url = options.pop("webhook_url")
        settings = server.AdmissionSettings(
            controller=_configuration(config_file), identity=_identity(), url=url, **options
        )
        try:
            await server.run(settings, garden, runtime)
        finally:
            await garden.close()
            await runtime.close()

    return _run(live)


_work = [
    click.option("-c", "--config", "config_file", type=_FILE, required=True, help="spool.path, and one object store."),
    click.option("--name", required=True, help="Under which it lies in the bucket."),
    click.option("--work", type=_DIRECTORY, default="/tmp", show_default=True, help="For the export."),  # noqa: S108
]


def _of_volume(function: F) -> F:
    for option in reversed(_work):
        function = option(function)
    return function


@command.command("evacuate", hidden=True)
@_of_volume
def evacuate(*, config_file: Path, name: str, work: Path) -> int:
    """Carry the undelivered part of a stopped sink's spool into a bucket. A Job of the extension runs it.

    \b
    Example:
      auditsink gardener evacuate -c evacuation.yaml --name shoot--p--n/data-auditsink-0
    """  # noqa: D301
    done = _on_volume("evacuate", config_file, name, work)
    click.echo(f"{done.events:,} events lie in the bucket")
    for cluster in done.unsealed:
        click.echo(f"cluster {cluster}: its last segment is not sealed and stays behind: its sink was killed", err=True)
    return 0


@command.command("take-up", hidden=True)
@_of_volume
def take_up(*, config_file: Path, name: str, work: Path) -> int:
    """Carry what `evacuate` left in a bucket into an empty spool. A Job of the extension runs it.

    \b
    Example:
      auditsink gardener take-up -c evacuation.yaml --name shoot--p--n/data-auditsink-0
    """  # noqa: D301
    click.echo(f"{_on_volume('take_up', config_file, name, work):,} events were taken up")
    return 0


def _on_volume(what: str, config_file: Path, name: str, work: Path) -> Any:
    module = _module("evacuation")
    try:
        with tempfile.TemporaryDirectory(dir=work) as place:
            return getattr(module, what)(read_config(config_file), name, Path(place))
    except OSError as problem:
        raise click.ClickException(f"{problem.filename or 'the disk'}: {problem.strerror}") from None


def _identity() -> str:
    """Of this replica, among those that want to lead."""
    return f"{socket.gethostname()}_{os.getpid()}"


def _module(name: str) -> Any:
    """Loaded when it is called: a sink needs none of it."""
    try:
        return importlib.import_module(f"auditsink.gardener.{name}")
    except ModuleNotFoundError as missing:
        raise click.ClickException(f"{missing.name} is not installed; pip install 'auditsink[gardener]'") from None


def _configuration(path: Path | None) -> Any:
    api, errors = _module("api.controller_config"), _module("errors")
    try:
        return api.read(path) if path else api.ControllerConfig()
    except OSError as problem:
        raise click.ClickException(f"{path}: {problem.strerror}; check the path and its permissions") from None
    except errors.ConfigurationError as problem:
        raise click.ClickException(f"{path}: {problem}") from None


def _run(live: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Until a signal: 0; 1 with a sentence for what ended it otherwise."""
    logs.configure(Log())
    return asyncio.run(_until_signal(live))


async def _until_signal(live: Callable[[], Coroutine[Any, Any, None]]) -> int:
    loop = asyncio.get_running_loop()
    task = loop.create_task(live())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await task
        except BaseExceptionGroup as several:
            raise click.ClickException("; ".join(_sentences(several))) from None
    return 0


def _sentences(several: BaseExceptionGroup[BaseException]) -> list[str]:
    found = []
    for exception in several.exceptions:
        if isinstance(exception, BaseExceptionGroup):
            found += _sentences(exception)
        else:
            found.append(str(exception) or type(exception).__name__)
    return found
