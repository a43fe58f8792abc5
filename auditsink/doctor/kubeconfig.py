"""The kubeconfig of an apiserver's audit webhook, as client-go takes it, and what is wrong with it by itself. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from auditsink.doctor import Finding, Urgency

PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SERVER = "kubeconfig server"
USER = "kubeconfig user"

_CREDENTIALS = frozenset(
    {"token", "tokenFile", "client-certificate", "client-certificate-data", "username", "exec", "auth-provider"}
)
_PROXIES = ("http://", "https://", "socks5://")
_EXAMPLE = "https://HOST:9880/audit/NAME-OF-THE-CLUSTER"


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """The members of the cluster and the user that count, and the URL; None where there is none to post to."""

    cluster: Mapping[str, Any] = field(default_factory=dict, repr=False)
    user: Mapping[str, Any] = field(default_factory=dict, repr=False)
    url: SplitResult | None = None

    @property
    def port(self) -> int:
        """Of the URL, the scheme's where it has none."""
        assert self.url is not None
        return self.url.port or PORTS[self.url.scheme]

    @property
    def target(self) -> str:
        """The path that the apiserver posts to, without the query that it adds: client-go drops that of the file."""
        assert self.url is not None
        return self.url.path.rstrip("/") or "/"

    @property
    def host(self) -> str:
        """That the certificate must name, unless `tls-server-name` says another."""
        assert self.url is not None
        return self.url.hostname or ""

    @property
    def verified_name(self) -> str:
        """The name that the sink's certificate must have."""
        return str(self.cluster.get("tls-server-name") or self.host)


def read(content: Mapping[str, Any]) -> tuple[Kubeconfig, list[Finding]]:
    """What client-go makes of the file; the findings say why that is nothing (client-go's clientcmd)."""
    kind = content.get("kind") or "Config"
    if kind != "Config":
        return Kubeconfig(), [
            Finding(
                Urgency.LOSING, "kubeconfig kind", f"is {kind!r}, and the apiserver reads a Config alone",
                "name the file that it reads; one that lies in a Secret or ConfigMap has to be taken out of it",
            )
        ]  # fmt: skip
    name = content.get("current-context")
    contexts = _names(content, "contexts")
    if not name:
        return Kubeconfig(), [
            Finding(
                Urgency.LOSING, "kubeconfig current-context", "is empty: the apiserver takes no server from the file",
                f"write the name of a context: {_listed(contexts)}",
            )
        ]  # fmt: skip
    context = _named(content, "contexts", "context", str(name))
    if context is None:
        return Kubeconfig(), [_dangling("current-context", str(name), "context", contexts)]
    cluster = _named(content, "clusters", "cluster", str(context.get("cluster") or ""))
    if cluster is None:
        wanted = str(context.get("cluster") or "")
        return Kubeconfig(), [_dangling(f"context {name!r}", wanted, "cluster", _names(content, "clusters"))]
    findings = list(_repeated(content))
    user = _named(content, "users", "user", str(context.get("user") or ""))
    if user is None and context.get("user"):
        findings.append(_dangling(f"context {name!r}", str(context["user"]), "user", _names(content, "users")))
    server = str(cluster.get("server") or "")
    return Kubeconfig(cluster, user or {}, _url(server)), [*findings, *_unusable(server)]


def in_kubeconfig(one: Kubeconfig) -> Iterator[Finding]:
    """What the file costs whatever the sink is."""
    if one.url is None:
        return
    shown = sorted(_CREDENTIALS & set(one.user))
    if one.url.scheme == "http" and shown:
        yield Finding(
            Urgency.LOSING, SERVER, f"is plain http, so client-go leaves out {', '.join(shown)}",
            "https, and receive.tls at the sink",
        )  # fmt: skip
    elif one.url.scheme == "http" and one.host not in LOOPBACK:
        yield Finding(
            Urgency.SOON, SERVER, "is plain http across a network: anybody in between reads the trail", "use https"
        )
    if one.url.query or one.url.fragment:
        yield Finding(
            Urgency.SOON, SERVER, "has a query, which the apiserver does not send", "name the cluster in the path"
        )
    if not one.url.path.strip("/"):
        yield Finding(Urgency.LOSING, SERVER, "has no path, and the sink answers 404", "add /audit/NAME-OF-THE-CLUSTER")
    elif one.url.path.endswith("/"):
        yield Finding(Urgency.ADVICE, SERVER, "ends in a slash, which the apiserver leaves out", "take it away")
    yield from _in_cluster(one.cluster)
    yield from _in_user(one.user)


def _in_user(user: Mapping[str, Any]) -> Iterator[Finding]:
    if _given(user, "client-certificate") and not _given(user, "client-key"):
        yield Finding(
            Urgency.LOSING, USER, "has a client-certificate without client-key: the apiserver does not start with it",
            "set client-key too",
        )  # fmt: skip
    plugin = user.get("exec")
    # v1beta1 has a default for it.
    if isinstance(plugin, dict) and str(plugin.get("apiVersion")).endswith("/v1") and not plugin.get("interactiveMode"):
        yield Finding(
            Urgency.LOSING, USER, "has exec without interactiveMode: the apiserver does not start with it",
            "add interactiveMode: Never to exec",
        )  # fmt: skip
    if "token" in user:
        yield Finding(Urgency.ADVICE, USER, "holds the token itself", "tokenFile can be changed without a restart")
    if "username" in user:
        yield Finding(
            Urgency.LOSING,
            USER,
            "has a user name and password, which no sink takes",
            "set tokenFile, or a client certificate",
        )


def _in_cluster(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    unchecked = cluster.get("insecure-skip-tls-verify")
    if unchecked is not None and not isinstance(unchecked, bool):
        yield Finding(
            Urgency.LOSING, "kubeconfig insecure-skip-tls-verify",
            "is neither true nor false: the apiserver does not start with it",
            "write true or false without quotes, or take it away",
        )  # fmt: skip
    elif unchecked and _given(cluster, "certificate-authority"):
        yield Finding(
            Urgency.LOSING, "kubeconfig insecure-skip-tls-verify",
            "stands beside a certificate-authority: client-go refuses both, and the apiserver does not start",
            "take insecure-skip-tls-verify away",
        )  # fmt: skip
    elif unchecked:
        yield Finding(
            Urgency.SOON, "kubeconfig insecure-skip-tls-verify", "anybody in between can take the trail",
            "name the sink's CA in certificate-authority",
        )  # fmt: skip
    proxy = str(cluster.get("proxy-url") or "")
    if proxy and not proxy.lower().startswith(_PROXIES):
        yield Finding(
            Urgency.LOSING, "kubeconfig proxy-url", "is no URL of a proxy: the apiserver does not start with it",
            "write http://HOST:PORT, or https:// or socks5://",
        )  # fmt: skip
    elif proxy:
        yield Finding(
            Urgency.ADVICE, "kubeconfig proxy-url", "the apiserver posts through a proxy, which doctor does not ask",
            "try the proxy too: curl --proxy, from the apiserver's host",
        )  # fmt: skip


def _given(members: Mapping[str, Any], name: str) -> bool:
    """As a file or as data."""
    return bool(members.get(name) or members.get(f"{name}-data"))


def in_service_name(host: str, *, resolves: bool | None) -> Iterator[Finding]:
    """The name of a Service in the URL. `resolves`: whether this machine can look it up; None when nobody asked."""
    if not host.endswith((".svc", ".svc.cluster.local")) and ".svc." not in host:
        return
    what = f"{host} is the name of a Service, which only the cluster's own DNS knows"
    yield Finding(
        Urgency.LOSING if resolves is False else Urgency.SOON,
        SERVER,
        f"{what}, and this machine does not" if resolves is False else what,
        "an apiserver on its host's network (a static pod, a unit) needs the ClusterIP, a NodePort, or a name that its "
        "host can resolve",
    )


def _url(server: str) -> SplitResult | None:
    try:
        url = urlsplit(server)
        usable = url.scheme in PORTS and bool(url.hostname) and url.port != 0
    except ValueError:
        return None
    return url if usable else None


def _unusable(server: str) -> Iterator[Finding]:
    if _url(server) is None:
        without = server.rpartition("@")[2]  # what stands before it may be a password
        yield Finding(Urgency.LOSING, SERVER, f"{without!r} is no URL", _EXAMPLE)


def _dangling(where: str, name: str, kind: str, there: list[str]) -> Finding:
    return Finding(
        Urgency.LOSING,
        f"kubeconfig {where}",
        f"names {kind} {name!r}, which is not in the file",
        f"write one of: {_listed(there)}",
    )


def _repeated(content: Mapping[str, Any]) -> Iterator[Finding]:
    for several in ("clusters", "contexts", "users"):
        names = _names(content, several)
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Finding(
                Urgency.LOSING, f"kubeconfig {several}", f"names {name!r} twice: the apiserver does not start with it",
                "keep one of them",
            )  # fmt: skip


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) or "there is none; see config/apiserver for an example"


def _names(content: Mapping[str, Any], several: str) -> list[str]:
    listed = content.get(several)
    return [str(one.get("name")) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _named(content: Mapping[str, Any], several: str, one: str, name: str) -> Mapping[str, Any] | None:
    listed = content.get(several)
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(one)
            return found if isinstance(found, dict) else {}
    return None
