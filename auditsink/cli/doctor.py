"""`auditsink doctor`: look at everything around a sink, and say in order what to fix."""

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from auditsink.cli import admin_port
from auditsink.cli.doctor_webhook import WebhookClient, in_webhook, tried
from auditsink.cli.settings import read_config
from auditsink.cli.tables import safe
from auditsink.common.redact import redact
from auditsink.config import Config
from auditsink.doctor import HEADINGS, Finding, Urgency, apiserver, in_order, machine, sink
from auditsink.doctor.flags import Flags, read
from auditsink.doctor.machine import Volume
from auditsink.load import files

_EXIT_CODES = {Urgency.LOSING: 4, Urgency.SOON: 3, Urgency.ADVICE: 3}
MOUNTS = Path("/proc/self/mounts")

_file = click.Path(path_type=Path, dir_okay=False)


class SinkAnswers(NamedTuple):
    """What the admin port said: `/status`, `/metrics`, and its clock in seconds since the epoch."""

    status: dict[str, Any]
    metrics: str
    clock: float


@click.command("doctor")
@admin_port.url_option
@click.option(
    "-c", "--config", "config_file", type=_file, help="Its configuration: also look at disk, files and risks."
)
@click.option("--kubeconfig", type=_file, help="The apiserver's --audit-webhook-config-file.")
@click.option(
    "--apiserver",
    "flags_file",
    type=_file,
    help="Where kube-apiserver's flags stand: manifest, unit, RKE2, k3s, kubeadm, kOps, minikube, kubespray ...",
)
@click.option("--try", "trial", is_flag=True, help="Post an empty EventList as the apiserver of --kubeconfig would.")
def command(
    *, url: str, config_file: Path | None, kubeconfig: Path | None, flags_file: Path | None, trial: bool
) -> int:
    """Look at a running sink and what is around it, and say in order what to fix.

    With the sink's configuration the kubeconfig is compared with it: address, path, cluster, credential, certificates.
    Exit code 0 when nothing is to be fixed, 3 to look when there is time, 4 when events are being lost or are not safe.

    \b
    Examples:
      auditsink doctor -c /etc/auditsink/config.yaml --kubeconfig audit-webhook.yaml --apiserver kube-apiserver.yaml
      auditsink doctor --kubeconfig /etc/kubernetes/audit-webhook.yaml --try
    """  # noqa: D301 - \b is click's mark for a paragraph that stays as it is
    if trial and kubeconfig is None:
        raise click.UsageError("--try posts as an apiserver does: name its --kubeconfig.")
    config = None if config_file is None else read_config(config_file)
    client = None if kubeconfig is None else WebhookClient(kubeconfig)
    flags = None if flags_file is None else read(_text(flags_file))
    answers = _ask(url)
    if flags is not None:
        click.echo(f"{safe(flags_file)}: {safe(_read_as(flags))}")
    outcome, refused = ("", []) if client is None or not trial else tried(client)
    if outcome:
        click.echo(safe(outcome))
    found = in_order(
        itertools.chain(
            _in_sink(answers),
            () if config is None else _in_config(config, answers),
            () if client is None else in_webhook(client, config),
            refused,
            () if flags is None else apiserver.in_file(flags),
        )
    )
    _show(found)
    return max((_EXIT_CODES[finding.urgency] for finding in found), default=0)


def _read_as(flags: Flags) -> str:
    count = len(flags.given)
    if not count:
        return "holds no audit flag in any form that is known"
    return f"read as {'; '.join(flags.forms)}: {count} audit flag{'' if count == 1 else 's'}"


def _show(found: list[Finding]) -> None:
    if not found:
        click.echo("Nothing to fix was found.")
    for urgency, findings in itertools.groupby(found, key=lambda finding: finding.urgency):
        click.echo(HEADINGS[urgency])
        for finding in findings:
            click.echo(f"  {safe(redact(str(finding)))}")


def _in_sink(answers: SinkAnswers | Finding) -> Iterator[Finding]:
    if isinstance(answers, Finding):
        yield answers
        return
    yield from sink.in_status(answers.status)
    yield from sink.in_metrics(answers.metrics, time.time())
    yield from sink.in_clocks(answers.clock, time.time())


def _in_config(config: Config, answers: SinkAnswers | Finding) -> Iterator[Finding]:
    for line in files.missing(config):
        yield Finding(Urgency.LOSING, "configuration", line, "a sink does not start like this")
    held = 0 if isinstance(answers, Finding) else answers.status["spool"]["bytes"]
    yield from machine.in_volume(config.spool, _volume(config.spool.path, held))
    for risk in config.risks():
        key, _, text = risk.partition(": ")
        yield Finding(Urgency.ADVICE, key, text, "auditsink check tells all of this")


def _volume(path: Path, held: int) -> Volume:
    whole = path.resolve()
    existing = next(parent for parent in (whole, *whole.parents) if parent.exists())
    usage = shutil.disk_usage(existing)
    mount, kind = machine.mounted(str(existing), MOUNTS.read_text(errors="replace"))
    return Volume(mount, kind, usage.total, usage.free, held)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError as problem:
        raise click.ClickException(f"{path}: {problem.strerror or os.strerror(problem.errno or 0)}") from None


def _ask(url: str) -> SinkAnswers | Finding:
    try:
        raw, date = admin_port.dated(url, "/status")
        status = admin_port.document(url, "/status", raw, "destinations")
        metrics = admin_port.fetch(url, "/metrics").decode(errors="replace")
        return SinkAnswers(status, metrics, parsedate_to_datetime(date).timestamp())
    except (click.ClickException, ValueError) as problem:
        if isinstance(problem, click.UsageError):
            raise
        return Finding(
            Urgency.LOSING, "sink", f"does not answer: {problem}", "start it, or name its admin port with --url"
        )
