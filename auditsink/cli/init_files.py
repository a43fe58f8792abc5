"""What `auditsink init` writes, as text: the sink's configuration, and what its kube-apiserver needs. Pure.

`check` takes the configuration as it is, `doctor` has nothing to say about kubeconfig and flags, and a sink that runs
with the one takes the batches that an apiserver with the others posts.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

Credential = Literal["none", "token", "certificate"]


@dataclass(frozen=True)
class Answers:
    """The answers. Paths are absolute, `server` is the host and port by which the apiserver comes."""

    directory: Path
    destination: str
    to: str
    secret_file: Path | None
    cluster: str
    listen: str
    server: str
    credential: Credential
    spool: Path
    tls_cert: Path
    tls_key: Path
    apiserver_directory: str


@dataclass(frozen=True)
class Secrets:
    """What is made for it: tokens, and PEM. `ca` signed the server's certificate; None: the system knows who did."""

    admin_token: str
    token: str = ""
    ca: bytes | None = None
    client_ca: bytes = b""
    client_certificate: bytes = b""
    client_key: bytes = b""


@dataclass(frozen=True)
class NewFile:
    """One to be written; a secret one is for its owner, and to be read by its group."""

    content: bytes
    secret: bool = False


def files(wanted: Answers, secrets: Secrets) -> dict[str, NewFile]:
    """By the path below `directory`: the configuration first, `apiserver/` for the machine of the apiserver."""
    made = {
        "config.yaml": NewFile(configuration(wanted).encode()),
        "admin-token": NewFile(f"{secrets.admin_token}\n".encode(), secret=True),
        "apiserver/kubeconfig.yaml": NewFile(kubeconfig(wanted, secrets).encode()),
        "apiserver/flags.yaml": NewFile(_FLAGS.format(directory=wanted.apiserver_directory).encode()),
        "apiserver/policy.yaml": NewFile(_POLICY.encode()),
    }
    if secrets.ca is not None and wanted.credential != "none":
        made["apiserver/ca.crt"] = NewFile(secrets.ca)
    if wanted.credential == "token":
        made["token"] = made["apiserver/token"] = NewFile(f"{secrets.token}\n".encode(), secret=True)
    if wanted.credential == "certificate":
        made["client-ca.crt"] = NewFile(secrets.client_ca)
        made["apiserver/client.crt"] = NewFile(secrets.client_certificate)
        made["apiserver/client.key"] = NewFile(secrets.client_key, secret=True)
    return made


def kubeconfig(wanted: Answers, secrets: Secrets) -> str:
    """For --audit-webhook-config-file. Names of files are relative to it, so the directory can be put anywhere."""
    scheme = "http" if wanted.credential == "none" else "https"
    cluster: dict[str, str] = {"server": f"{scheme}://{wanted.server}/audit/{wanted.cluster}"}
    if secrets.ca is not None and wanted.credential != "none":
        cluster["certificate-authority"] = "ca.crt"
    user: dict[str, str] = {}
    if wanted.credential == "token":
        user = {"tokenFile": "token"}
    if wanted.credential == "certificate":
        user = {"client-certificate": "client.crt", "client-key": "client.key"}
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "auditsink", "cluster": cluster}],
        "users": [{"name": "kube-apiserver", "user": user}],
        "contexts": [{"name": "auditsink", "context": {"cluster": "auditsink", "user": "kube-apiserver"}}],
        "current-context": "auditsink",
    }
    return f"# --audit-webhook-config-file: where the audit trail goes.\n{yaml.safe_dump(whole, sort_keys=False)}"


def configuration(wanted: Answers) -> str:
    """The sink's file, with what a reader wants to know beside each key."""
    parts = [_HEAD, _receive(wanted)]
    if wanted.credential != "none":
        parts.append(_CLUSTERS[wanted.credential].format(name=wanted.cluster, token=_text(wanted.directory / "token")))
    parts.append(_SPOOL.format(path=_text(wanted.spool)))
    parts.append(_DESTINATION + DESTINATIONS[wanted.destination].section(wanted))
    parts.append(_ADMIN.format(token=_text(wanted.directory / "admin-token")))
    return "\n".join(parts)


def _receive(wanted: Answers) -> str:
    text = _RECEIVE.format(listen=_text(wanted.listen), cluster=_text(wanted.cluster))
    if wanted.credential == "none":
        return text
    text += _TLS.format(cert=_text(wanted.tls_cert), key=_text(wanted.tls_key))
    return text + _CLIENT_CA.format(ca=_text(wanted.directory / "client-ca.crt")) * (wanted.credential == "certificate")


def _text(value: object) -> str:
    """As a YAML value in quotes, on one line; a ${ in it is no reference."""
    plain = str(value).replace("${", "$${")
    return yaml.safe_dump(plain, default_style='"', allow_unicode=True, width=sys.maxsize).rstrip("\n")


@dataclass(frozen=True)
class Offer:
    """A destination that can be asked for: what `--to` is, an example of it, and whether it needs a secret."""

    to: str
    example: str
    section: Callable[[Answers], str]
    needs_secret: bool = False


def _file(wanted: Answers) -> str:
    return f"""  - name: disk
    type: file
    # One event a line, as the apiserver wrote it. At 256MiB it is renamed, and four old ones are kept.
    path: {_text(wanted.to)}
"""


def _splunk(wanted: Answers) -> str:
    return f"""  - name: splunk
    type: splunk
    # The HTTP Event Collector: scheme, host and port.
    url: {_text(wanted.to)}
    # Its token, alone in a file that is read again when it changes.
    token_file: {_text(wanted.secret_file)}
    # The token's own index, unless one is named here.
    #index: k8s_audit
"""


def _http(wanted: Answers) -> str:
    bearer = f"    auth: {{bearer_file: {_text(wanted.secret_file)}}}\n" if wanted.secret_file else ""
    return f"""  - name: http
    type: http
    url: {_text(wanted.to)}
    # Or json_array, event_list, elasticsearch, loki, otlp, meilisearch.
    format: ndjson
{bearer}"""


def _kafka(wanted: Answers) -> str:
    servers = ", ".join(_text(one.strip()) for one in wanted.to.split(","))
    return f"""  - name: kafka
    type: kafka
    bootstrap_servers: [{servers}]
    topic: "audit.{{cluster}}"
    # TLS and a password, if the brokers ask for them:
    #security: {{tls: {{}}, mechanism: SCRAM-SHA-512, username: auditsink, password_file: /etc/auditsink/password}}
"""


def _s3(wanted: Answers) -> str:
    return f"""  - name: s3
    type: s3
    # Region and credentials come from the environment (AWS_*, a role), unless they stand here.
    bucket: {_text(wanted.to)}
    #region: eu-central-1
"""


def _stdout(_: Answers) -> str:
    return "  - {name: out, type: stdout}\n"


DESTINATIONS: Mapping[str, Offer] = {
    "file": Offer("its path", "/var/log/auditsink/audit.ndjson", _file),
    "splunk": Offer(
        "the URL of its HTTP Event Collector", "https://splunk.example.com:8088", _splunk, needs_secret=True
    ),
    "http": Offer("its URL", "https://collector.example.com/audit", _http),
    "kafka": Offer("its brokers", "kafka-0:9092,kafka-1:9092", _kafka),
    "s3": Offer("the bucket", "audit", _s3),
    "stdout": Offer("nothing", "", _stdout),
}
"""What can be asked for; every other type has an example in config/."""

_HEAD = """# Written by `auditsink init`. `auditsink check -c` this file says what it means and what is risky;
# `auditsink schema` has every key for an editor.
"""
_RECEIVE = """receive:
  # Where the apiserver posts to: POST /audit/{{name of the cluster}}.
  listen: {listen}
  # The cluster that is meant when a path names none.
  cluster: {cluster}
"""
_TLS = """  # HTTPS; the files are read again when they change.
  tls:
    cert_file: {cert}
    key_file: {key}
"""
_CLIENT_CA = """    # Nobody gets in without a certificate that this CA signed.
    client_ca_file: {ca}
"""
_CLUSTERS = {
    "token": """# Who may post, and nobody else. The token names the cluster.
clusters:
  - name: "{name}"
    token_file: {token}
""",
    "certificate": """# Who may post, and nobody else. The name in the certificate says which cluster it is.
clusters:
  - name: "{name}"
    certificates: ["cn:{name}"]
""",
}
_SPOOL = """spool:
  # A batch is answered 200 when it is in here, on the disk. Best a disk of its own.
  path: {path}
  # Full: 503, and the apiserver keeps what it has and tries again. 1GiB is several million events.
  max_bytes: 1GiB
"""
_DESTINATION = """destinations:
  # Any number of them, each with its own pace. Every key: the examples in config/, `auditsink schema`.
"""
_ADMIN = """admin:
  # Probes, metrics, and a page that shows where the events are.
  listen: 127.0.0.1:2020
  # What the page and the commands must show to read events and to replay or drop dead letters.
  token_file: {token}
"""
_FLAGS = """# To be added to kube-apiserver's command; mount this directory into its pod as {directory}.
- --audit-policy-file={directory}/policy.yaml
- --audit-webhook-config-file={directory}/kubeconfig.yaml
# Events are posted together and no request of a user waits for the sink.
- --audit-webhook-mode=batch
# What an apiserver that dies takes with it.
- --audit-webhook-batch-max-wait=2s
# Events that wait in its memory while the sink is away, some 2 kB each; past it they are dropped.
- --audit-webhook-batch-buffer-size=50000
- --audit-webhook-batch-throttle-qps=50
- --audit-webhook-batch-throttle-burst=100
# Five attempts in about 80 s.
- --audit-webhook-initial-backoff=10s
"""
_POLICY = """# --audit-policy-file: what is recorded. The first rule that fits an event decides.
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  # Noise of the machinery.
  - level: None
    nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*", "/api", "/apis"]
  - level: None
    resources: [{group: "", resources: [events]}, {group: events.k8s.io}]
  - level: None
    resources: [{group: coordination.k8s.io, resources: [leases]}]
    verbs: [get, list, watch, update, patch]
  # Bodies that hold secrets: never more than the fact.
  - level: Metadata
    resources: [{group: "", resources: [secrets, configmaps, serviceaccounts/token]}, {group: authentication.k8s.io}]
  # Every other change with what was sent, every other look as a fact.
  - level: Request
    verbs: [create, update, patch, delete, deletecollection]
  - level: Metadata
"""
