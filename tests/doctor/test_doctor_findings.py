"""Each mishap is found, told by its urgency, and a sink in good order has none."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from auditsink.common.units import Size
from auditsink.config import Spool
from auditsink.doctor import Finding, Urgency, apiserver, in_order, machine, sink
from auditsink.doctor.machine import Volume

CONFIG = Path(__file__).parents[2] / "config" / "apiserver"
GIB = 2**30
LOSING, SOON, ADVICE = Urgency.LOSING, Urgency.SOON, Urgency.ADVICE


def destination(**changes: Any) -> dict[str, Any]:
    return {
        "name": "siem", "state": "delivering", "last_error": None, "lag_seconds": 1.0,
        "accepted": 10, "delivered": 5, "filtered": 1, "dead_lettered": 0, "dropped": 0, "pending": 4, **changes,
    }  # fmt: skip


def status(**changes: Any) -> dict[str, Any]:
    spool = {"wanted_bytes": 10, "max_bytes": 100, "damaged_bytes": 0, **changes.pop("spool", {})}
    return {
        "state": "running", "reasons": [], "rejected_requests": {"full": 0, "unauthorized": 0},
        "destinations": [destination()], "spool": spool, **changes,
    }  # fmt: skip


def told(findings: Any) -> list[tuple[Urgency, str]]:
    return [(finding.urgency, finding.about) for finding in findings]


def test_a_sink_in_good_order_has_no_findings():
    assert told(sink.in_status(status())) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"reasons": ["spool: the disk failed"]}, (LOSING, "readiness")),
        ({"spool": {"wanted_bytes": 100}}, (LOSING, "spool")),
        ({"spool": {"wanted_bytes": 85}}, (SOON, "spool")),
        ({"spool": {"wanted_bytes": 55}}, (ADVICE, "spool")),
        ({"spool": {"damaged_bytes": 1}}, (LOSING, "spool")),
        ({"rejected_requests": {"full": 3}}, (ADVICE, "spool")),
        ({"rejected_requests": {"forbidden": 3}}, (SOON, "receive")),
        ({"destinations": [destination(state="misconfigured", last_error="401")]}, (SOON, "destination siem")),
        ({"destinations": [destination(state="retrying")]}, (SOON, "destination siem")),
        ({"destinations": [destination(lag_seconds=601.0)]}, (SOON, "destination siem")),
        ({"destinations": [destination(dropped=1, pending=3)]}, (ADVICE, "destination siem")),
        ({"destinations": [destination(dead_lettered=1, pending=3)]}, (ADVICE, "destination siem")),
        ({"destinations": [destination(delivered=4)]}, (LOSING, "destination siem")),
    ],
)
def test_a_sink_in_trouble_has_one(changes: dict[str, Any], expected: tuple[Urgency, str]):
    assert told(sink.in_status(status(**changes))) == [expected]


def test_a_ring_that_refuses_and_is_full_is_losing_now():
    changes = {"spool": {"wanted_bytes": 95}, "rejected_requests": {"full": 1}}
    assert told(sink.in_status(status(**changes))) == [(SOON, "spool"), (LOSING, "spool")]


@pytest.mark.parametrize(("days", "expected"), [(-1, [LOSING]), (1, [SOON]), (10, [ADVICE]), (20, [])])
def test_certificates_are_told_before_they_end(days: int, expected: list[Urgency]):
    name = "auditsink_certificate_expiry_timestamp_seconds"
    text = f'# TYPE {name} gauge\n{name}{{key="receive.tls.cert_file"}} {1e9 + days * 86400}\n'
    assert told(sink.in_metrics(text, 1e9)) == [(one, "receive.tls.cert_file") for one in expected]


def test_batches_that_could_not_be_split_are_named():
    name = "auditsink_unsplit_batches_total"
    text = f"# TYPE {name} counter\n{name} "
    (finding,) = sink.in_metrics(text + "3.0\n", 1e9)
    assert (finding.urgency, finding.about) == (SOON, "receive")
    assert finding.what.startswith("3 batches could not be split")
    assert not list(sink.in_metrics(text + "0.0\n", 1e9))


@pytest.mark.parametrize(("sinks", "words"), [(1020.0, "ahead of"), (980.0, "behind")])
def test_clocks_that_differ_are_told(sinks: float, words: str):
    (finding,) = sink.in_clocks(sinks, 1000.0)
    assert f"20 s {words}" in finding.what
    assert not list(sink.in_clocks(1001.0, 1000.0))


def volume(**changes: Any) -> Volume:
    return Volume(**{"mount": "/data", "kind": "ext4", "total": 10 * GIB, "free": 9 * GIB, "held": 0, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"kind": "tmpfs"}, [(LOSING, "spool.path /data/spool")]),
        ({"kind": "overlay"}, [(LOSING, "spool.path /data/spool")]),
        ({"kind": "nfs4"}, [(ADVICE, "spool.path /data/spool")]),
        ({"free": 4 * GIB}, [(SOON, "spool.max_bytes")]),
        ({"free": 4 * GIB, "held": 3 * GIB}, []),
        ({"free": 5 * GIB}, [(ADVICE, "spool.max_bytes")]),
    ],
)
def test_the_disk_is_judged_for_the_ring_on_it(changes: dict[str, Any], expected: list[tuple[Urgency, str]]):
    spool = Spool(path=Path("/data/spool"), max_bytes=Size(5 * GIB))
    assert told(machine.in_volume(spool, volume(**changes))) == expected


def test_the_longest_mount_point_counts():
    mounts = "/dev/a / ext4 rw 0 0\n/dev/b /var xfs rw 0 0\nnone /var/my\\040disk tmpfs rw 0 0\n"
    assert machine.mounted("/var/lib", mounts) == ("/var", "xfs")
    assert machine.mounted("/variable", mounts) == ("/", "ext4")
    assert machine.mounted("/var/my disk/x", mounts) == ("/var/my disk", "tmpfs")


def test_the_examples_of_this_project_are_in_order():
    assert told(apiserver.in_flags(apiserver.flags((CONFIG / "flags.yaml").read_text()))) == []
    for example in CONFIG.glob("kubeconfig-*.yaml"):
        assert told(apiserver.in_kubeconfig(yaml.safe_load(example.read_text()))) == [], example


@pytest.mark.parametrize(
    "text",
    [
        "ExecStart=/usr/bin/kube-apiserver --audit-policy-file=/p --audit-webhook-config-file=/w",
        "- --audit-policy-file=/p\n- --audit-webhook-config-file=/w # here\n# - --audit-webhook-mode=blocking\n",
        'command: ["kube-apiserver", "--audit-policy-file=/p", "--audit-webhook-config-file=/w"]',
        "--audit-policy-file /p --audit-webhook-config-file /w",
    ],
)
def test_flags_are_read_wherever_they_stand(text: str):
    assert apiserver.flags(text) == {"audit-policy-file": "/p", "audit-webhook-config-file": "/w"}


GOOD = {
    "audit-policy-file": "/p", "audit-webhook-config-file": "/w", "audit-webhook-batch-max-wait": "2s",
    "audit-webhook-batch-buffer-size": "50000", "audit-webhook-batch-throttle-qps": "50",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"audit-policy-file": ""}, [(LOSING, "--audit-policy-file")]),
        ({"audit-webhook-truncate-enabled": "true"}, [(ADVICE, "--audit-webhook-truncate-enabled")]),
        ({"audit-webhook-mode": "blocking-strict"}, [(ADVICE, "--audit-webhook-mode")]),
        ({"audit-webhook-batch-max-wait": "1m30s"}, [(ADVICE, "--audit-webhook-batch-max-wait")]),
        ({"audit-webhook-batch-buffer-size": "10000"}, [(ADVICE, "--audit-webhook-batch-buffer-size")]),
        ({"audit-webhook-batch-buffer-size": "many"}, [(ADVICE, "--audit-webhook-batch-buffer-size")]),
        ({"audit-webhook-batch-throttle-qps": "10"}, [(ADVICE, "--audit-webhook-batch-throttle-qps")]),
        ({"audit-webhook-initial-backoff": "500ms"}, [(SOON, "--audit-webhook-initial-backoff")]),
    ],
)
def test_flags_that_cost_events_are_told(changes: dict[str, str], expected: list[tuple[Urgency, str]]):
    assert told(apiserver.in_flags({**GOOD, **changes})) == expected


def test_an_apiserver_without_audit_flags_posts_nothing():
    assert told(apiserver.in_flags({})) == [(LOSING, "apiserver")]


def kubeconfig(server: str, user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": "other", "cluster": {}}, {"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


HTTPS = "https://sink:9880/audit/prod"


@pytest.mark.parametrize(
    ("content", "tokens", "expected"),
    [
        (kubeconfig(HTTPS, {"tokenFile": "/t"}), True, []),
        (kubeconfig("http://127.0.0.1:9880/audit"), None, []),
        (kubeconfig("http://sink:9880/audit", {"tokenFile": "/t"}), None, [(LOSING, "kubeconfig server")]),
        (kubeconfig("http://sink:9880/audit"), None, [(SOON, "kubeconfig server")]),
        (kubeconfig(f"{HTTPS}?cluster=prod"), None, [(SOON, "kubeconfig server")]),
        (kubeconfig("https://sink:9880"), None, [(LOSING, "kubeconfig server")]),
        (kubeconfig(f"{HTTPS}/"), None, [(ADVICE, "kubeconfig server")]),
        (kubeconfig("sink:9880"), None, [(LOSING, "kubeconfig server")]),
        (
            kubeconfig(HTTPS, **{"insecure-skip-tls-verify": True}),
            None,
            [(SOON, "kubeconfig insecure-skip-tls-verify")],
        ),
        (kubeconfig(HTTPS), True, [(LOSING, "kubeconfig user")]),
        (kubeconfig(HTTPS, {"token": "t"}), True, [(ADVICE, "kubeconfig user")]),
        ({"clusters": "no list"}, None, [(LOSING, "kubeconfig server")]),
        ({}, None, [(LOSING, "kubeconfig server")]),
    ],
)
def test_a_kubeconfig_that_costs_events_is_told(
    content: dict[str, Any], tokens: bool | None, expected: list[tuple[Urgency, str]]
):
    assert told(apiserver.in_kubeconfig(content, tokens=tokens)) == expected


def test_no_finding_shows_a_token():
    found = [*apiserver.in_kubeconfig(kubeconfig("http://sink/audit", {"token": "very-secret"}), tokens=True)]
    assert found
    assert "very-secret" not in "".join(map(str, found))


def test_the_most_urgent_comes_first():
    found = [
        Finding(urgency, str(number), "what", "remedy") for number, urgency in enumerate([ADVICE, LOSING, SOON, LOSING])
    ]
    assert [finding.about for finding in in_order(found)] == ["1", "3", "2", "0"]
