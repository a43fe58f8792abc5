"""Our reading of audit policies against kube-apiserver's own checker: random policies, every recorded event."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any
from zlib import crc32

import corpus
import gobuild
import pytest
from rows import Rows

from auditsink import load
from auditsink.filters.policy import LEVELS, Evaluator
from auditsink.filters.reading import read, request_of

VERSION = "v0.34.2"
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
        path = self._chance.choice([*self._paths, "*"])
        return path[: self._chance.randint(1, len(path))] + "*" if path != "*" and self._chance.random() < 0.5 else path

    def _entry(self) -> dict[str, Any]:
        if self._chance.random() < 0.3:
            group, resource, name = self._chance.choice(self._names)
            return {"group": group, "resources": [resource], "resourceNames": [name]}
        group, resource, subresource = self._chance.choice(self._resources)
        forms = [resource, f"{resource}/{subresource}", f"{resource}/*", f"*/{subresource}", "*", "*/*"]
        return {"group": group, "resources": self._some(forms, 0.8)}


def ours(policy: dict[str, Any], events: list[bytes]) -> list[str]:
    """Our answers, in the checker's form."""
    evaluator = Evaluator(load.parse_policy(json.dumps(policy).encode(), "p"))
    answers = []
    for event in events:
        decision = evaluator.decide(request_of(read(event)))
        stages, omit = ",".join(sorted(decision.omit_stages)), str(decision.omit_managed_fields).lower()
        answers.append(f"{decision.level.wire}|{stages}|{omit}" if decision.level else "None")
    return answers


def test_every_decision_is_kube_apiservers_own(checker: Path, tmp_path: Path, rows: Rows):
    """The event's own fields on our side; a request made anew from its URI on the other."""
    events = [*dict.fromkeys(corpus.events())]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"".join(event.replace(b"\n", b" ") + b"\n" for event in events))
    seed = random.randrange(2**32)
    maker = Maker([json.loads(event) for event in events], random.Random(seed))
    policies = [maker.policy() for _ in range(POLICIES)]
    told = subprocess.run(
        [checker, file],
        input="".join(json.dumps(one) + "\n" for one in policies),
        capture_output=True,
        text=True,
        check=True,
    )
    levels = dict.fromkeys(LEVELS, 0)
    for policy, line in zip(policies, told.stdout.splitlines(), strict=True):
        theirs = ["None" if answer.startswith("None|") else answer for answer in json.loads(line)]
        for event, mine, other in zip(events, ours(policy, events), theirs, strict=True):
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
