"""`auditsink doctor`: look at everything around a sink, and say in order what to fix."""

import base64
import itertools
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml

from auditsink.apiserver.webhook import Webhook
from auditsink.cli import admin_port, tables
from auditsink.cli.settings import read_config
from auditsink.cli.tables import safe
from auditsink.clusters.registry import ClustersError, Registry
from auditsink.common import resolver
from auditsink.common.listen import parse_address
from auditsink.common.redact import redact
from auditsink.common.secret import Secret, parse_secret
from auditsink.config import Config
from auditsink.doctor import (
    HEADINGS,
    Finding,
    Urgency,
    apiserver,
    comparison,
    in_order,
    kubeconfig,
    sink,
)
from auditsink.doctor.comparison import Shown
from auditsink.doctor.flags import Flags, read
from auditsink.doctor.kubeconfig import Kubeconfig
from auditsink.doctor.sink import Volume
from auditsink.http.tls import NamedContext
from auditsink.load import files, places
from auditsink.receive.auth import NOBODY, Authorizer
from auditsink.receive.certificates import Certificates
from auditsink.receive.errors import ReceiveError

LOOK_UP_SECONDS = 3.0
TRIAL_SECONDS = 30.0
"""An apiserver waits as long for an answer."""


class _UnusableError(Exception):
    """Data in the kubeconfig itself that nobody can use, wherever the file lies: which, and why."""


class WebhookClient:
    """The apiserver's side, as its kubeconfig makes it."""

    def __init__(self, path: Path) -> None:
        """Raises ClickException for a file that is no kubeconfig."""
        try:
            content = next(yaml.safe_load_all(path.read_bytes()), None)  # client-go reads the first document
        except OSError as problem:
            raise click.ClickException(f"{path}: {problem.strerror or 'cannot be read'}") from None
        except (yaml.YAMLError, ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise click.ClickException(f"{path}: is no kubeconfig; see config/apiserver for one")
        self._place = path.parent
        self.file, self.findings = kubeconfig.read(content)
        self.context: ssl.SSLContext | None = None
        self.authorization: bytes | None = None
        self.token: Secret | None = None
        self.complete = True  # every file that it names could be read here
        if self.file.url is not None:
            self._load(self.file)

    def _load(self, file: Kubeconfig) -> None:
        try:
            self.token = self._token(file.user)
            if self.token is not None:
                self.authorization = b"Bearer " + self.token.reveal().encode()
        except (_UnusableError, OSError, ValueError) as problem:
            self._cannot("kubeconfig tokenFile", problem)
        if "username" in file.user:
            self.authorization = b"Basic"
        if file.url is not None and file.url.scheme == "https":
            try:
                self.context = self._tls(file)
            except (_UnusableError, OSError, ValueError) as problem:
                self._cannot("kubeconfig certificates", problem)

    def _cannot(self, about: str, problem: Exception) -> None:
        self.complete = False
        if isinstance(problem, _UnusableError):
            self.findings.append(
                Finding(
                    Urgency.LOSING, about, f"{problem}: the apiserver does not start with it",
                    "write the PEM file in base64, in one line (base64 -w0 FILE)",
                )
            )  # fmt: skip
            return
        why = getattr(problem, "strerror", None) or getattr(problem, "reason", None) or problem
        named = getattr(problem, "filename", None)
        self.findings.append(
            Finding(
                Urgency.SOON, about, f"cannot be used here ({f'{named}: ' if named else ''}{why})",
                "the apiserver has to be able to; run doctor where it runs, and it is compared too",
            )
        )  # fmt: skip

    def _token(self, user: Mapping[str, Any]) -> Secret | None:
        if user.get("tokenFile"):  # it goes before `token`
            return parse_secret(self._path(user["tokenFile"]).read_bytes())
        return parse_secret(str(user["token"]).encode()) if user.get("token") else None

    def _path(self, name: object) -> Path:
        """client-go takes a relative path from where the kubeconfig lies."""
        return self._place / str(name)

    def _tls(self, file: Kubeconfig) -> ssl.SSLContext:
        context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False  # Go looks at alternative names alone
        context.expected_name = file.verified_name
        authority = self._pem(file.cluster, "certificate-authority")
        if file.cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif authority is not None:
            context.load_verify_locations(cadata=authority.decode("ascii", "replace"))
        else:
            context.load_default_certs()
        certificate, key = self._pem(file.user, "client-certificate"), self._pem(file.user, "client-key")
        if certificate is not None and key is not None:
            with tempfile.TemporaryDirectory(prefix="auditsink-doctor-") as place:  # ssl reads files alone; mode 0700
                chain, secret = Path(place, "chain"), Path(place, "key")
                chain.write_bytes(certificate)
                secret.write_bytes(key)
                context.load_cert_chain(chain, secret, password="")
        return context

    def _pem(self, members: Mapping[str, Any], name: str) -> bytes | None:
        data = members.get(f"{name}-data")  # it goes before the file
        if data:
            unbroken = str(data).replace("\r", "").replace("\n", "")  # Go passes over line breaks, and nothing else
            try:
                return base64.b64decode(unbroken, validate=True)
            except ValueError:
                raise _UnusableError(f"{name}-data is no base64") from None
        return self._path(members[name]).read_bytes() if members.get(name) else None


def in_webhook(client: WebhookClient, config: Config | None) -> Iterator[Finding]:
    """What the kubeconfig costs, by itself and beside the sink's configuration."""
    yield from client.findings
    file = client.file
    if file.url is None:
        return
    yield from kubeconfig.in_kubeconfig(file)
    if ".svc" in file.host:
        yield from kubeconfig.in_service_name(file.host, resolves=_resolves(file.host))
    if config is not None:
        yield from _beside(client, file, config)


def _beside(client: WebhookClient, file: Kubeconfig, config: Config) -> Iterator[Finding]:
    assert file.url is not None
    receive = config.receive
    yield from comparison.in_address(file, receive, parse_address(receive.listen), parse_address(config.admin.listen))
    # Without a certificate it is nobody, whatever becomes of the handshake.
    nobody = (
        None if {"client-certificate", "client-certificate-data", "exec", "auth-provider"} & set(file.user) else NOBODY
    )
    peer = nobody if client.complete else None
    if file.url.scheme == "https" and receive.tls is not None and client.context is not None:
        try:
            shaken = comparison.shake_hands(client.context, Certificates(receive.tls).context, file.verified_name)
        except ReceiveError as problem:
            yield Finding(Urgency.LOSING, "receive.tls", str(problem), "a sink does not start like this")
        else:
            if shaken.problem:
                yield comparison.in_handshake(file, shaken.problem, by_sink=shaken.by_server)
            elif peer is None and "exec" not in file.user and client.complete:
                peer = shaken.peer
    try:
        registry = Registry(config)
    except ClustersError as problem:
        yield Finding(Urgency.LOSING, "clusters", str(problem).splitlines()[0], "a sink does not start like this")
        return
    admit = Authorizer(receive.path, receive.cluster, lambda: registry.cluster_set).admit
    yield from comparison.in_admission(file, admit, Shown(client.authorization, peer))


def tried(client: WebhookClient) -> tuple[str, list[Finding]]:
    """Post an empty EventList as that apiserver would: what to say of it, and the findings."""
    file = client.file
    if file.url is None:
        return "", []
    where = f"{file.url.scheme}://{file.url.netloc.rpartition('@')[2]}{file.target}"
    token = client.token
    webhook = Webhook(
        where,
        tls=client.context,
        token=None if token is None else lambda: token,
        connections=1,
        remedy="check certificate-authority",
    )  # over http no token is sent, as an apiserver does it

    async def post() -> list[Finding]:
        async with webhook:
            return list(comparison.in_answer(await webhook.post(comparison.BODY, TRIAL_SECONDS), where))

    findings = resolver.run(post())
    return "" if findings else f"Posted an empty EventList to {where} as that apiserver would: accepted.", findings


def _resolves(host: str) -> bool | None:
    """Whether this machine knows the name; None when it does not say so in time."""
    answer: list[bool] = []

    def look() -> None:
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            answer.append(False)
        else:
            answer.append(True)

    thread = threading.Thread(target=look, daemon=True)  # a resolver that hangs must not keep the command
    thread.start()
    thread.join(LOOK_UP_SECONDS)
    return answer[0] if answer else None


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
    verdict = {} if isinstance(answers, Finding) else answers.status.get("verdict") or {}
    click.echo(redact(tables.verdict(verdict)), nl=False)
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
    level = tables.EXIT_CODES.get(str(verdict.get("level")), 0)
    _show(found, beside=level > 0)
    return max((level, *(_EXIT_CODES[finding.urgency] for finding in found)))


def _read_as(flags: Flags) -> str:
    count = len(flags.given)
    if not count:
        return "holds no audit flag in any form that is known"
    return f"read as {'; '.join(flags.forms)}: {count} audit flag{'' if count == 1 else 's'}"


def _show(found: list[Finding], *, beside: bool) -> None:
    """`beside`: the verdict above names something."""
    if not found:
        click.echo("Nothing else to fix was found." if beside else "Nothing to fix was found.")
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
    if config.spool.type == "disk":  # max_bytes of a topic are the brokers'
        held = 0 if isinstance(answers, Finding) else answers.status["spool"]["bytes"]
        yield from sink.in_volume(config.spool, _volume(config.spool.path, held))
    for risk in config.risks():
        key, _, text = risk.partition(": ")
        yield Finding(Urgency.ADVICE, key, text, "auditsink check tells all of this")


def _volume(path: Path, held: int) -> Volume:
    existing = places.existing(path)
    usage = shutil.disk_usage(existing)
    mount, kind = sink.mounted(str(existing), MOUNTS.read_text(errors="replace"))
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
