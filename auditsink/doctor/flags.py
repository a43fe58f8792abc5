"""The audit flags of a kube-apiserver out of the file in which somebody keeps them. Pure.

A static pod's manifest and a unit spell flags; RKE2, k3s and minikube wrap each in a flag or key of their own; kubeadm
has a map (v1beta3) or a list of names and values (v1beta4), which kind, Cluster API, Talos, k0s and RKE carry inside
their own; kOps writes them in camel case; kubespray and KubeOne have variables of other names. All of these are looked
for at once, wherever in the document they stand, and what was found says which form it is.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

_NUMBERS = ("batch-buffer-size", "batch-max-size", "batch-max-wait", "batch-throttle-burst", "batch-throttle-qps")
_SIZES = ("truncate-max-batch-size", "truncate-max-event-size")
_SWITCHES = ("batch-throttle-enable", "truncate-enabled")
BOOLEANS = frozenset(
    {f"audit-{backend}-{flag}" for backend in ("log", "webhook") for flag in _SWITCHES}
    | {"audit-log-compress", "audit-dynamic-configuration"}
)  # fmt: skip
KNOWN = BOOLEANS | frozenset(
    {f"audit-{backend}-{flag}" for backend in ("log", "webhook") for flag in (*_NUMBERS, *_SIZES, "mode", "version")}
    | {f"audit-log-{flag}" for flag in ("format", "maxage", "maxbackup", "maxsize", "path")}
    | {"audit-policy-file", "audit-webhook-config-file", "audit-webhook-initial-backoff"}
)  # fmt: skip
"""Every audit flag that a kube-apiserver has, or had (k8s.io/apiserver, pkg/server/options/audit.go)."""

_ARG_KEYS = frozenset({"kube-apiserver-arg", "kube-apiserver-args", "kube_apiserver_arg"})
_EXTRA_KEYS = frozenset({"extraArgs", "extra_args", "extraArguments"})
_EXTRA_PARENTS = frozenset({"apiServer", "api", "apiserver", "kube-api", "kubeApi", "kube_api", "kubeApiServer"})
_WHOLE_KEYS = {
    "apiServerArguments": "OpenShift's apiServerArguments",
    "kube_kubeadm_apiserver_extra_args": "kubespray's kube_kubeadm_apiserver_extra_args",
    "apiserver_extra_args": "apiserver_extra_args",
}
_KUBESPRAY = {
    "audit_policy_file": "audit-policy-file",
    "audit_log_path": "audit-log-path",
    "audit_webhook_config_file": "audit-webhook-config-file",
    "audit_webhook_mode": "audit-webhook-mode",
    "audit_webhook_batch_max_size": "audit-webhook-batch-max-size",
    "audit_webhook_batch_max_wait": "audit-webhook-batch-max-wait",
}
_KUBESPRAY_FILE = "/etc/kubernetes/audit-policy/apiserver-audit-"
_KUBESPRAY_DEFAULTS = {
    "audit-policy-file": f"{_KUBESPRAY_FILE}policy.yaml",
    "audit-webhook-config-file": f"{_KUBESPRAY_FILE}webhook-config.yaml",
    "audit-webhook-mode": "batch",
    "audit-webhook-batch-max-size": "100",
    "audit-webhook-batch-max-wait": "1s",
}
"""What its role writes where `kubernetes_audit_webhook` is true and no variable says otherwise."""
_TEMPLATE = re.compile(r"\{\{|\$\{|\$\(|^\$[A-Za-z_]")
_NAME = re.compile(rf"(?<![\w./-])-{{0,2}}({'|'.join(sorted(KNOWN, key=len, reverse=True))})(?![\w.-])")
_FLAG = re.compile(r"-{0,2}(audit-[a-z0-9-]+)(?:=(.*))?\Z", re.DOTALL)
_COMMENT = re.compile(r"(^|\s)#.*")
_UPPER = re.compile(r"([a-z0-9])([A-Z])")
_DEEPEST = 40


@dataclass(slots=True)
class Flags:
    """`given`: by name without dashes, values as text, booleans as true or false. `forms`: how they were written.

    `unread`: line and name of what looks like one and was not understood. `problem`: why the file is not what it seems.
    """

    given: dict[str, str] = field(default_factory=dict)
    forms: list[str] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)
    problem: str = ""

    def add(self, form: str, name: str, value: str | None) -> None:
        """A flag; without a value it is a boolean that is on, or it was not understood."""
        if value is None:
            if name not in BOOLEANS:
                return
            value = "true"
        if _TEMPLATE.search(value):
            return  # somebody else fills it in
        if name in BOOLEANS:
            value = "true" if value in {"1", "t", "T", "true", "TRUE", "True"} else "false"
        self.given[name] = value
        if form not in self.forms:
            self.forms.append(form)


def read(text: str) -> Flags:
    """All audit flags in a file."""
    found = Flags()
    try:
        documents = [one for one in yaml.safe_load_all(text) if isinstance(one, dict | list)]
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        documents = []
        if isinstance(problem, yaml.MarkedYAMLError) and problem.problem_mark and _looks_like_yaml(text):
            found.problem = f"is no YAML from line {problem.problem_mark.line + 1} on ({problem.problem})"
    for document in documents:
        _DocumentWalk(found).node(document, ())
    if not documents:
        _of_words(found, "flags on a command line", _words(text))
    found.unread = [
        (number, match[1])
        for number, line in enumerate(text.splitlines(), 1)
        for match in _NAME.finditer(_COMMENT.sub("", line))
        if match[1] not in found.given
    ]
    return found


def _looks_like_yaml(text: str) -> bool:
    return any(re.match(r"(apiVersion|kind|metadata|spec)\s*:", line) for line in text.splitlines())


class _DocumentWalk:
    """Through one document, each part of it once: aliases can make a small one endless."""

    def __init__(self, found: Flags) -> None:
        self._found = found
        self._seen: set[int] = set()
        self._kind = ""

    def node(self, node: object, path: tuple[str, ...]) -> None:
        """A part, and where it stands."""
        if isinstance(node, dict | list):
            if id(node) in self._seen or len(path) > _DEEPEST:
                return
            self._seen.add(id(node))
        if isinstance(node, dict):
            self._mapping(node, path)
        elif isinstance(node, list):
            words = [str(one) for one in node if isinstance(one, str)]
            if any(word.startswith("-") for word in words):
                _of_words(
                    self._found, self._named("a list of flags", path), (part for one in words for part in _words(one))
                )
            else:
                for one in node:
                    self.node(one, path)
        elif isinstance(node, str) and "audit" in node:
            self._text(node, path)

    def _mapping(self, node: Mapping[Any, Any], path: tuple[str, ...]) -> None:
        if isinstance(node.get("kind"), str):
            version = node.get("apiVersion")
            self._kind = f"{node['kind']} ({version})" if isinstance(version, str) else node["kind"]
        if node.get("Component") == "apiserver" and "Key" in node:
            self._found.add("minikube's ExtraOptions", str(node["Key"]), _text_of(node.get("Value")))
            return
        self._kubespray(node)
        for key, value in node.items():
            self._member(str(key), value, path)

    def _member(self, key: str, value: object, path: tuple[str, ...]) -> None:
        where = (*path, key)
        if key in _ARG_KEYS:
            self._pairs("RKE2's or k3s's kube-apiserver-arg", value)
        elif key in _EXTRA_KEYS and path and path[-1] in _EXTRA_PARENTS:
            shape = "a list of names and values" if isinstance(value, list) else "a map"
            self._pairs(self._named(f"extraArgs as {shape}", where), value)
        elif key in _WHOLE_KEYS:
            self._pairs(_WHOLE_KEYS[key], value)
        elif key == "kubeAPIServer" and isinstance(value, dict):
            for name, setting in value.items():
                if str(name).startswith("audit"):
                    self._found.add("kOps's kubeAPIServer", _kebab(str(name)), _text_of(setting))
            self.node(value, where)
        elif key in {"webhookAuditLog", "staticAuditLog"} and isinstance(value, dict):
            self._kubeone(value)
        elif not path and key in KNOWN:
            self._found.add("RKE2's own keys", key, _text_of(value))
        else:
            self.node(value, where)

    def _pairs(self, form: str, value: object) -> None:
        """A map of names and values; or a list of name=value, or of {name, value}."""
        if isinstance(value, dict | list):
            if id(value) in self._seen:
                return
            self._seen.add(id(value))
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            self._pair(form, value["name"], value.get("value"))
        elif isinstance(value, dict):
            for name, setting in value.items():
                self._pair(form, str(name), setting)
        elif isinstance(value, list):
            for one in value:
                self._pairs(form, one)
        elif isinstance(value, str):
            for word in _words(value):
                name, equals, setting = word.lstrip("-").partition("=")
                self._pair(form, name, setting if equals else None)

    def _pair(self, form: str, name: str, value: object) -> None:
        if name.lstrip("-").startswith("audit-"):
            self._found.add(form, name.lstrip("-"), _text_of(value))

    def _kubespray(self, node: Mapping[Any, Any]) -> None:
        webhook, log = node.get("kubernetes_audit_webhook"), node.get("kubernetes_audit")
        given = {_KUBESPRAY[key]: _text_of(value) for key, value in node.items() if key in _KUBESPRAY}
        if webhook is None and log is None and not given:
            return
        wanted = {**(_KUBESPRAY_DEFAULTS if webhook else {}), **given}
        for name, value in wanted.items():
            if webhook or (log and "webhook" not in name):
                self._found.add("kubespray's variables", name, value)

    def _kubeone(self, node: Mapping[Any, Any]) -> None:
        config = node.get("config")
        names = {"policyFilePath": "audit-policy-file", "configFilePath": "audit-webhook-config-file"}
        if node.get("enable") and isinstance(config, dict):
            for key, name in names.items():
                if key in config:
                    self._found.add("KubeOne's features", name, _text_of(config[key]))

    def _text(self, node: str, path: tuple[str, ...]) -> None:
        """A string: a file in a ConfigMap, a patch of kind's, a script, or a flag."""
        inner = None
        if "\n" in node or ": " in node:
            try:
                inner = yaml.safe_load(node)
            except (yaml.YAMLError, ValueError, RecursionError):
                inner = None
        if isinstance(inner, dict | list):
            self.node(inner, (*path, "(text)"))
        elif "--audit-" in node or "apiserver" in node:
            _of_words(self._found, self._named("flags in a text", path), _words(node))

    def _named(self, form: str, path: tuple[str, ...]) -> str:
        where = ".".join(path)
        kind = f"{self._kind}, " if self._kind else ""
        return f"{kind}{form}{f' at {where}' if where else ''}"


def _of_words(found: Flags, form: str, words: Iterable[str]) -> None:
    """Flags as an apiserver's command line has them (spf13/pflag: only a boolean can do without a value)."""
    left = iter(list(words))
    waiting: str | None = None  # the flag whose value the next word is
    for word in left:
        if waiting is not None and not word.startswith("--"):
            _flag(found, form, waiting, word)
            waiting = None
            continue
        waiting = None
        name, equals, value = word.partition("=")
        if name in {"--kube-apiserver-arg", "--extra-config"} or (match := _FLAG.match(word)) is None:
            if equals and name.startswith("--"):
                _flag(found, form, name, value)
            else:
                waiting = name if name in {"--kube-apiserver-arg", "--extra-config"} else None
        elif word.startswith("-") and match[2] is None and match[1] not in BOOLEANS:
            waiting = word
        elif word.startswith("-"):
            found.add(form, match[1], match[2])


def _flag(found: Flags, form: str, name: str, value: str) -> None:
    """A flag and its value, or one of a distribution whose value is a flag and its value."""
    if name == "--kube-apiserver-arg":
        form, inner = "k3s's or RKE2's --kube-apiserver-arg", value
    elif name == "--extra-config" and value.startswith("apiserver."):
        form, inner = "minikube's --extra-config", value.removeprefix("apiserver.")
    else:
        inner = f"{name}={value}"
    match = _FLAG.match(inner)
    if match is not None:
        found.add(form, match[1], match[2])


def _words(text: str) -> Iterator[str]:
    """The words of a unit, a script, a process's command line: quotes, commas and continued lines do not count."""
    joined = re.sub(r"\\\r?\n", " ", text.replace("\0", " "))
    for line in joined.splitlines():
        for word in _COMMENT.sub("", line).split():
            bare = re.sub(r"[\"'\[\],]", "", word).rstrip(";")
            # KUBE_API_ARGS="--audit-...": what stands before the first flag is the variable.
            start = bare.find("--") if not bare.startswith("-") else 0
            if bare:
                yield bare[start:] if start > 0 and "=" in bare[:start] else bare


def _kebab(name: str) -> str:
    return _UPPER.sub(r"\1-\2", name).lower()


def _text_of(value: object) -> str | None:
    """A value as a flag has it; the last of several, as the apiserver takes it."""
    if isinstance(value, list):
        return _text_of(value[-1]) if value else None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None or isinstance(value, dict) else str(value)
