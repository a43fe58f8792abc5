"""The part of `auditsink doctor` that looks at an apiserver's kubeconfig: its files, the sink's, and a trial."""

import base64
import binascii
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from auditsink.apiserver.webhook import Webhook
from auditsink.clusters.registry import ClustersError, Registry
from auditsink.common import resolver
from auditsink.common.listen import parse_address
from auditsink.common.secret import Secret, parse_secret
from auditsink.config import Config
from auditsink.doctor import Finding, Urgency, comparison, handshake, kubeconfig, trial
from auditsink.doctor.comparison import Shown
from auditsink.doctor.kubeconfig import Kubeconfig
from auditsink.http.tls import NamedContext
from auditsink.receive.auth import NOBODY, Authorizer
from auditsink.receive.certificates import Certificates
from auditsink.receive.errors import ReceiveError

LOOK_UP_SECONDS = 3.0
TRIAL_SECONDS = 30.0
"""An apiserver waits as long for an answer."""


class _UnusableError(Exception):
    """A file that the kubeconfig names: which, and why."""


class WebhookClient:
    """The apiserver's side, as its kubeconfig makes it."""

    def __init__(self, path: Path) -> None:
        """Raises ClickException for a file that is no kubeconfig."""
        try:
            content = yaml.safe_load(path.read_bytes())
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
            try:
                return base64.b64decode(str(data), validate=False)
            except binascii.Error:
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
            shaken = handshake.shake_hands(client.context, Certificates(receive.tls).context, file.verified_name)
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
            return list(trial.in_answer(await webhook.post(trial.BODY, TRIAL_SECONDS), where))

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
