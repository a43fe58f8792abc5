"""Our reading of audit policies against kube-apiserver's own: random policies on all recorded events, odd files."""

import base64
import json
import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import corpus
import gobuild
import pytest
from rows import Rows

from auditsink import load
from auditsink.config import Policy
from auditsink.filters.policy import LEVELS, Evaluator, parse_policy
from auditsink.filters.reading import read, request_of

VERSION = "v0.36.3"
SOURCE = Path(__file__).parent / "auditpolicy" / "main.go"
POLICIES = 300
STAGES = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"]


@pytest.fixture(scope="module")
def checker() -> Path:
    """The program, built for each version of the module and of its own source."""

    def build(work: Path) -> Path:
        shutil.copy(SOURCE, work)
        return gobuild.as_dependency(work, f"k8s.io/apiserver@{VERSION}", ".")

    return gobuild.program("auditpolicy", f"{VERSION}-{crc32(SOURCE.read_bytes()):08x}", build)


class Maker:
    """Policies out of what the events hold, so that their rules fit something."""

    def __init__(self, events: list[dict[str, Any]], chance: random.Random) -> None:
        self._chance = chance
        refs = [event["objectRef"] for event in events if "objectRef" in event]
        self._users = sorted({event["user"].get("username", "nobody") for event in events})
        self._groups = sorted({group for event in events for group in event["user"].get("groups", [])})
        self._verbs = sorted({event["verb"] for event in events})
        self._resources = sorted(
            {(ref.get("apiGroup", ""), ref["resource"], ref.get("subresource", "")) for ref in refs}
        )
        self._names = sorted({(ref.get("apiGroup", ""), ref["resource"], ref.get("name", "")) for ref in refs})
        self._namespaces = sorted({ref.get("namespace", "") for ref in refs})
        self._paths = sorted({event["requestURI"].partition("?")[0] for event in events if "objectRef" not in event})

    def policy(self) -> dict[str, Any]:
        """One that kube-apiserver takes."""
        made: dict[str, Any] = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
        made["rules"] = [self._rule() for _ in range(self._chance.randint(1, 8))]
        made["omitStages"] = self._some(STAGES, 0.2)
        made["omitManagedFields"] = self._chance.random() < 0.3
        return made

    def _some(self, several: list[Any], probability: float, most: int = 3) -> list[Any]:
        if self._chance.random() > probability:
            return []
        return self._chance.sample(several, min(len(several), self._chance.randint(1, most)))

    def _rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {
            "level": self._chance.choice([*LEVELS]),
            "users": self._some(self._users, 0.2),
            "userGroups": self._some(self._groups, 0.2),
            "verbs": self._some(self._verbs, 0.4),
            "omitStages": self._some(STAGES, 0.2),
        }
        if self._chance.random() < 0.3:
            rule["omitManagedFields"] = self._chance.random() < 0.5
        if self._chance.random() < 0.25:
            return rule | {"nonResourceURLs": [self._path() for _ in range(self._chance.randint(1, 3))]}
        entries = [self._entry() for _ in range(self._chance.randint(1, 4))]
        return rule | {
            "namespaces": self._some(self._namespaces, 0.3),
            "resources": entries if self._chance.random() < 0.7 else [],
        }

    def _path(self) -> str:
        path: str = self._chance.choice([*self._paths, "*"])
        return path[: self._chance.randint(1, len(path))] + "*" if path != "*" and self._chance.random() < 0.5 else path

    def _entry(self) -> dict[str, Any]:
        if self._chance.random() < 0.3:
            group, resource, name = self._chance.choice(self._names)
            return {"group": group, "resources": [resource], "resourceNames": [name]}
        group, resource, subresource = self._chance.choice(self._resources)
        group = "*" if self._chance.random() < 0.2 else group
        forms = [resource, f"{resource}/{subresource}", f"{resource}/*", f"*/{subresource}", "*", "*/*"]
        return {"group": group, "resources": self._some(forms, 0.8)}


def ours(policy: Policy, events: list[bytes]) -> list[str]:
    """Our answers, in the checker's form."""
    evaluator = Evaluator(policy)
    answers = []
    for event in events:
        decision = evaluator.decide(request_of(read(event)))
        stages, omit = ",".join(sorted(decision.omit_stages)), str(decision.omit_managed_fields).lower()
        answers.append(f"{decision.level.wire}|{stages}|{omit}" if decision.level else "None")
    return answers


def theirs(checker: Path, events: list[bytes], policies: Iterable[bytes], work: Path) -> list[dict[str, Any]]:
    """What kube-apiserver's code says of each policy file."""
    file = work / "events.ndjson"
    file.write_bytes(b"".join(event.replace(b"\n", b" ") + b"\n" for event in events))
    told = subprocess.run(
        [checker, file],
        input=b"".join(base64.b64encode(one) + b"\n" for one in policies),
        capture_output=True,
        check=True,
    )
    found = [json.loads(line) for line in told.stdout.splitlines()]
    for one in found:
        one["answers"] = ["None" if answer.startswith("None|") else answer for answer in one.get("answers", [])]
    return found


def test_every_decision_is_kube_apiservers_own(checker: Path, tmp_path: Path, rows: Rows) -> None:
    """The event's own fields on our side; a request made anew from its URI on the other."""
    events = [*dict.fromkeys(corpus.events())]
    seed = random.randrange(2**32)
    maker = Maker([json.loads(event) for event in events], random.Random(seed))
    policies = [json.dumps(maker.policy()).encode() for _ in range(POLICIES)]
    levels = dict.fromkeys(LEVELS, 0)
    for policy, said in zip(policies, theirs(checker, events, policies, tmp_path), strict=True):
        assert not said.get("warned"), (seed, policy)
        mine_of_all = ours(parse_policy(policy, "p"), events)
        for event, mine, other in zip(events, mine_of_all, said["answers"], strict=True):
            assert mine == other, (seed, policy, event)
            levels[mine.partition("|")[0]] += 1
    assert all(levels.values()), levels
    decisions = sum(levels.values())
    rows(
        server=f"k8s.io/apiserver {VERSION}, policy checker",
        thrown=f"{POLICIES} random policies on the recorded events",
        into=decisions,
        out=decisions,
        note="decisions compared, all equal: " + ", ".join(f"{count:,} {name}" for name, count in levels.items()),
    )


HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
RULES = "rules: [{level: Metadata, verbs: [get]}, {level: Request}]\n"
PLAIN = HEAD + RULES
TAKEN = {
    "plain": PLAIN,
    "any group": HEAD + "rules: [{level: Request, resources: [{group: '*', resources: ['*/status', secrets]}]}]",
    "two documents": f"{PLAIN}---\n{HEAD}rules: [{{level: None}}]",
    "a broken second document": f"{PLAIN}---\n{{[",
    "marks around it": f"# ours\n---\n{PLAIN}---\n",
    "a byte order mark, CRLF": "\ufeff" + PLAIN.replace("\n", "\r\n"),
    "JSON with tabs": json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]},
                                 indent="\t"),
    "JSON with escapes": '{"apiVersion":"audit.k8s.io\\/v1","kind":"Policy",'
    '"rules":[{"level":"Metadata","verbs":["g\\u0065t"]}]}',
    "null is absent": HEAD + "metadata: null\nomitStages: null\nomitManagedFields: null\n"
    "rules: [{level: Metadata, users: null, omitManagedFields: null, resources: [null, {group: null}]}]",
    "metadata of an object": PLAIN + "metadata: {name: a, uid: b, resourceVersion: '1', generation: 2, finalizers: [x],"
    " managedFields: [{manager: kubectl}], ownerReferences: [], creationTimestamp: 2026-11-22T10:00:00Z}",
    "no variable": HEAD + "rules: [{level: Metadata, users: ['${HOME}']}, {level: None}]",
    "all URLs": HEAD + "rules: [{level: Metadata, nonResourceURLs: ['*']}]",
    "stars at a URL's end": HEAD + "rules: [{level: Metadata, nonResourceURLs: ['/api*', /healthz]}]",
}  # fmt: skip
WARNED = {
    "resource for resources": HEAD + "rules: [{level: Metadata, resources: [{group: apps, resource: [pods]}]}]",
    "a key at the top": PLAIN + "x: 1",
    "a key in metadata": PLAIN + "metadata: {x: 1}",
    "another case": HEAD + "rules: [{level: Metadata, Verbs: [get]}]",
    "an anchor's home": HEAD + "x: &get [get]\nrules: [{level: Metadata, verbs: *get}]",
    "rules twice": PLAIN + "rules: [{level: None}]",
    "level twice": HEAD + "rules: [{level: Metadata, level: None}]",
    "rules twice in JSON": '{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[],"rules":[{"level":"Request"}]}',
}
REFUSED = {
    "v1beta1": PLAIN.replace("/v1", "/v1beta1"),
    "another kind": PLAIN.replace("Policy", "Event"),
    "no rules": HEAD,
    "empty rules": HEAD + "rules: []",
    "null rules": HEAD + "rules: null",
    "a null level": HEAD + "rules: [{level: null}]",
    "no level": HEAD + "rules: [{Level: Metadata}]",
    "a small level": HEAD + "rules: [{level: metadata}]",
    "text for a list": HEAD + "rules: [{level: Metadata, users: a}]",
    "a number for a name": HEAD + "rules: [{level: Metadata, users: [1]}]",
    "yes for a name": HEAD + "rules: [{level: Metadata, users: [yes]}]",
    "text for a boolean": PLAIN + "omitManagedFields: 'true'",
    "a URL without a slash": HEAD + "rules: [{level: Metadata, nonResourceURLs: [healthz]}]",
    "an empty URL": HEAD + "rules: [{level: Metadata, nonResourceURLs: ['']}]",
    "a star in a URL": HEAD + "rules: [{level: Metadata, nonResourceURLs: ['/a*b']}]",
    "URLs and resources": HEAD + "rules: [{level: Metadata, nonResourceURLs: [/a], resources: [{}]}]",
    "a group with its version": HEAD + "rules: [{level: Metadata, resources: [{group: apps/v1}]}]",
    "a group in capitals": HEAD + "rules: [{level: Metadata, resources: [{group: Apps}]}]",
    "half a star": HEAD + "rules: [{level: Metadata, resources: [{group: '*.io'}]}]",
    "names of nothing": HEAD + "rules: [{level: Metadata, resources: [{resourceNames: [a]}]}]",
    "an unknown stage": PLAIN + "omitStages: [Done]",
    "nothing": "",
    "no YAML": "rules: [",
}


def test_a_file_is_taken_warned_of_or_refused_as_by_kube_apiserver(checker: Path, tmp_path: Path, rows: Rows) -> None:
    """What it takes with a warning is refused unless that is wanted, and then means the same."""
    events = corpus.events("blocking-rr-h1tls")
    files = TAKEN | WARNED | REFUSED
    for name, said in zip(
        files, theirs(checker, events, (one.encode() for one in files.values()), tmp_path), strict=True
    ):
        data = files[name].encode()
        assert ("refused" in said, said.get("warned", False)) == (name in REFUSED, name in WARNED), (name, said)
        if name in TAKEN:
            assert ours(parse_policy(data, "p"), events) == said["answers"], name
        else:
            with pytest.raises(load.ConfigError):
                parse_policy(data, "p")
        if name in REFUSED:
            with pytest.raises(load.ConfigError):
                parse_policy(data, "p", "warn")
        else:
            assert ours(parse_policy(data, "p", "warn"), events) == said["answers"], name
    rows(
        server=f"k8s.io/apiserver {VERSION}, policy loader",
        thrown=f"{len(files)} odd policy files",
        into=len(files),
        out=len(files),
        note=f"{len(TAKEN)} taken, {len(WARNED)} warned of, {len(REFUSED)} refused; what is taken decides the same",
    )
