"""A configuration in words: what it does, and what is risky about it. Pure.

Never shows a secret, nor a URL's path or query, which may hold one.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from auditsink.common.listen import Address, parse_address
from auditsink.config import (
    Admin,
    AzureConfig,
    ClientTls,
    Config,
    DestinationConfig,
    Evidence,
    FileConfig,
    GcsConfig,
    HttpConfig,
    KafkaConfig,
    LocalConfig,
    OAuth2,
    ObjectConfig,
    Receive,
    S3Config,
    SplunkConfig,
    Spool,
)

_DURABILITY = {
    "fsync": "when the disk has confirmed it",
    "interval": "at once; the disk is synced every second",
    "os": "when the kernel has it; when it reaches the disk is the kernel's business",
}
_WHEN_FULL = {
    "reject": "it refuses with 503 and Retry-After, and the apiserver tries again",
    "drop_oldest": "it drops the oldest events, counted for each destination that had not got them",
}


def plan(config: Config) -> Iterator[str]:
    """What would run, a sentence each."""
    receive, spool = config.receive, config.spool
    scheme = "https" if receive.tls else "http"
    yield f"listens on {scheme}://{receive.listen} for POST {receive.path} and {receive.path}/CLUSTER"
    yield f"takes batches from {_who(config)}"
    yield f"calls what comes without a cluster's name {receive.cluster!r}"
    yield f"answers 200 for a batch {_DURABILITY[spool.durability]}"
    encrypted = f", encrypted under the first key of {spool.encryption.key_file}" if spool.encryption else ""
    yield f"keeps up to {spool.max_bytes} in {spool.path}{encrypted}; when that is full, {_WHEN_FULL[spool.when_full]}"
    for one in config.destinations:
        yield f"delivers to {one.name}: {_where(one)}"
    if config.evidence is not None:
        yield from _evidence_plan(config.evidence)
    yield f"tells how it is on http://{config.admin.listen} (/livez, /readyz, /metrics, /status, a page)"
    yield f"shows events and dead letters there to {_who_reads(config.admin)}"


def risks(config: Config) -> Iterator[str]:
    """What an operator should know before relying on it: the key, what may happen, what to write instead."""
    yield from _receive_risks(config.receive, identified=_identified(config))
    yield from _cluster_risks(config)
    yield from _spool_risks(config.spool, config.receive)
    for place, one in enumerate(config.destinations):
        for key, risk in _destination_risks(one):
            yield f"destinations[{place}].{key}: {risk}"
    if config.evidence is not None:
        yield from _evidence_risks(config.evidence, config.spool)
    if not parse_address(config.admin.listen).loopback:
        yield "admin.listen: whoever reaches it reads the names and states of clusters and destinations"


def _identified(config: Config) -> bool:
    """Whether nobody can post for a cluster of his choice without a credential, of whatever kind."""
    receive = config.receive
    return bool(config.clusters or receive.tokens_file or (receive.tls and receive.tls.client_ca_file))


def _who(config: Config) -> str:
    receive, clusters = config.receive, config.clusters
    if clusters is not None:
        count = len(clusters.members)
        where = [f"the {count:,} {'cluster' if count == 1 else 'clusters'} declared here"] if count else []
        where += [f"those of the files in {clusters.directory}"] if clusters.directory else []
        anonymous = [one.name for one in clusters.members if one.anonymous]
        but = f" (without one: {', '.join(anonymous)})" if anonymous else ""
        return f"{' and '.join(where)}, each by its own credential{but}, and nobody else"
    certificate = receive.tls is not None and receive.tls.client_ca_file is not None
    if certificate and receive.tokens_file:
        return "whoever shows a certificate of client_ca_file and a token of tokens_file"
    if certificate:
        return "whoever shows a certificate of client_ca_file"
    return "whoever shows a token of tokens_file" if receive.tokens_file else "anybody who reaches the port"


def _who_reads(admin: Admin) -> str:
    if admin.token_file is not None:
        return f"whoever sends the token of {admin.token_file}, who may also replay and drop dead letters"
    if parse_address(admin.listen).loopback:
        return "whoever is on this machine; nobody can change anything (set admin.token_file)"
    return "nobody (set admin.token_file)"


def _where(one: DestinationConfig) -> str:
    match one:
        case SplunkConfig():
            index = f"index {one.index}" if one.index else "the token's index"
            return f"Splunk HEC at {_origin(one.url)}{_way(one)}, {index}, sourcetype {one.sourcetype}"
        case KafkaConfig():
            once = f", in transactions of {one.transactional_id}" if one.transactional_id else ""
            return f"Kafka at {', '.join(one.bootstrap_servers)}, topic {one.topic}{once}"
        case HttpConfig():
            return f"HTTP at {_origin(one.url)}{_way(one)}, as {one.format}"
        case ObjectConfig():
            return f"objects {_objects(one)}, as {one.prefix}/..."
        case FileConfig():
            return f"file {one.path}, {one.keep} old ones kept, {one.rotate_bytes} each"
        case _:
            return "standard output"


def _way(one: SplunkConfig | HttpConfig) -> str:
    return f" through the proxy {_origin(one.proxy.url)}" if one.proxy else ""


def _objects(one: ObjectConfig) -> str:
    match one:
        case AzureConfig():
            return f"in {one.account}/{one.container} of {_store(one.endpoint, 'Azure')}"
        case LocalConfig():
            return f"as files in {one.path}"
        case S3Config() | GcsConfig():
            usual = "Amazon S3" if isinstance(one, S3Config) else "Google Cloud Storage"
            return f"in the bucket {one.bucket} of {_store(one.endpoint, usual)}"
        case _:
            raise AssertionError(one)


def _store(endpoint: str | None, usual: str) -> str:
    return usual if endpoint is None else _origin(endpoint)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _receive_risks(receive: Receive, *, identified: bool) -> Iterator[str]:
    local = parse_address(receive.listen).loopback
    if receive.tokens_file and not receive.tls:
        yield "receive.tokens_file: kube-apiserver sends no token over plain HTTP; set receive.tls"
    if not identified and not local:
        yield (
            "receive.listen: anybody who reaches the port can add events for any cluster; "
            "set receive.tls.client_ca_file or receive.tokens_file, or close the port by a NetworkPolicy"
        )
    if not receive.tls and not local:
        yield "receive.tls: is not set, so the audit trail travels in the clear up to here"
    if receive.idle_timeout < 90:
        yield "receive.idle_timeout: below the 90s of kube-apiserver, whose requests may meet a closing connection"
    if receive.request_timeout < 30:
        yield "receive.request_timeout: below the 30s that kube-apiserver allows itself; a slow network loses batches"


def _cluster_risks(config: Config) -> Iterator[str]:
    receive, clusters = config.receive, config.clusters
    if clusters is None:
        if receive.tls and receive.tls.client_ca_file and not receive.tokens_file:
            yield (
                "clusters: is not set, so whoever has any certificate of receive.tls.client_ca_file can post for any "
                "cluster; write there which certificate is whose"
            )
        return
    for place, one in enumerate(clusters.members):
        if one.anonymous:
            yield f"clusters[{place}].anonymous: whoever reaches the port can add events for {one.name}"
    by_token = any(one.tokens or one.token_file for one in clusters.members)
    if by_token and not receive.tls:
        yield "clusters: kube-apiserver sends no token over plain HTTP; set receive.tls"


def _spool_risks(spool: Spool, receive: Receive) -> Iterator[str]:
    if spool.durability == "interval":
        yield "spool.durability: interval loses up to a second of answered batches when the power fails"
    if spool.durability == "os":
        yield "spool.durability: os loses half a minute of answered batches or more when the power fails"
    if spool.when_full == "drop_oldest":
        yield "spool.when_full: drop_oldest loses events when a destination is down for too long"
    if spool.encryption is not None:
        yield "spool.encryption: covers the rings; dead letters and file destinations are as readable as their disk"
    if receive.max_body * 2 > spool.max_bytes:
        yield "spool.max_bytes: a body of receive.max_body may never fit; make it at least twice that"


def _evidence_plan(evidence: Evidence) -> Iterator[str]:
    signed = "signed checkpoints" if evidence.key_file else "checkpoints"
    yield f"states every {evidence.every} what it took: {signed} in {evidence.path}"
    if evidence.deliver_as:
        yield f"delivers the checkpoints too, as events of cluster {evidence.deliver_as}"


def _evidence_risks(evidence: Evidence, spool: Spool) -> Iterator[str]:
    if evidence.key_file is None:
        yield "evidence.key_file: is not set, so whoever can write the checkpoint file can replace what it says"
    if spool.path in evidence.path.parents:
        yield "evidence.path: lies in the spool; put it where the spool's end does not take it along"


def _destination_risks(one: DestinationConfig) -> Iterator[tuple[str, str]]:
    if isinstance(one, SplunkConfig | HttpConfig):
        yield from _tls_risks(one.tls, "tls")
        if urlsplit(one.url).scheme == "http" and not _local(one.url):
            yield "url", "is plain http: events and credentials travel in the clear; use https"
        if isinstance(one, HttpConfig) and one.auth.oauth2 is not None:
            yield from _token_risks(one.auth.oauth2)
    elif isinstance(one, S3Config | GcsConfig | AzureConfig):
        if one.endpoint is not None and urlsplit(one.endpoint).scheme == "http" and not _local(one.endpoint):
            yield "endpoint", "is plain http: events travel in the clear; use https"
    elif isinstance(one, KafkaConfig):
        if one.security.tls is None:
            yield "security.tls", "is not set, so events and passwords travel in the clear"
        else:
            yield from _tls_risks(one.security.tls, "security.tls")


def _token_risks(oauth2: OAuth2) -> Iterator[tuple[str, str]]:
    yield from _tls_risks(oauth2.tls, "auth.oauth2.tls")
    if urlsplit(oauth2.token_url).scheme == "http" and not _local(oauth2.token_url):
        yield "auth.oauth2.token_url", "is plain http: the client's secret travels in the clear; use https"


def _tls_risks(tls: ClientTls, key: str) -> Iterator[tuple[str, str]]:
    if tls.insecure_skip_verify:
        yield f"{key}.insecure_skip_verify", "anybody in between can read and change the trail; name the CA in ca_file"


def _local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return Address(host, 0).loopback
