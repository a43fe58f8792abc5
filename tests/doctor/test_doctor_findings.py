"""Each mishap is found, told by its urgency, and a sink in good order has none."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from auditsink.apiserver.retry_schedule import PostResult
from auditsink.common.listen import parse_address
from auditsink.common.units import Size
from auditsink.config import Receive, ServerTls, Spool
from auditsink.doctor import Finding, Urgency, apiserver, comparison, flags, in_order, kubeconfig, sink
from auditsink.doctor.sink import Volume

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


def test_a_sink_in_good_order_has_no_findings() -> None:
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
        ({"rejected_requests": {"too_large": 3}}, (LOSING, "receive")),
        ({"rejected_requests": {"not_an_event_list": 3}}, (LOSING, "receive")),
        ({"rejected_requests": {"not_found": 3}}, (SOON, "receive")),
        ({"destinations": [destination(state="misconfigured", last_error="401")]}, (SOON, "destination siem")),
        ({"destinations": [destination(state="retrying")]}, (SOON, "destination siem")),
        ({"destinations": [destination(lag_seconds=601.0)]}, (SOON, "destination siem")),
        ({"destinations": [destination(dropped=1, pending=3)]}, (ADVICE, "destination siem")),
        ({"destinations": [destination(dead_lettered=1, pending=3)]}, (ADVICE, "destination siem")),
        ({"destinations": [destination(delivered=4)]}, (LOSING, "destination siem")),
    ],
)
def test_a_sink_in_trouble_has_one(changes: dict[str, Any], expected: tuple[Urgency, str]) -> None:
    assert told(sink.in_status(status(**changes))) == [expected]


@pytest.mark.parametrize("reason", ["too_large", "not_an_event_list", "not_found", "unauthorized"])
def test_a_refused_batch_is_told_with_its_peer_and_path(reason: str) -> None:
    last = {"sentence": "no", "peer": "10.0.0.7:4711", "path": "/k8s-audit", "last": "2026-11-28T17:00:00Z"}
    (finding,) = sink.in_status(status(rejected_requests={reason: 2}, refusals=[{"reason": reason, **last}]))
    assert "the last from 10.0.0.7:4711 to /k8s-audit at 2026-11-28T17:00:00Z" in finding.what


def test_a_ring_that_refuses_and_is_full_is_losing_now() -> None:
    changes = {"spool": {"wanted_bytes": 95}, "rejected_requests": {"full": 1}}
    assert told(sink.in_status(status(**changes))) == [(SOON, "spool"), (LOSING, "spool")]


@pytest.mark.parametrize(("days", "expected"), [(-1, [LOSING]), (1, [SOON]), (10, [ADVICE]), (20, [])])
def test_certificates_are_told_before_they_end(days: int, expected: list[Urgency]) -> None:
    name = "auditsink_certificate_expiry_timestamp_seconds"
    text = f'# TYPE {name} gauge\n{name}{{key="receive.tls.cert_file"}} {1e9 + days * 86400}\n'
    assert told(sink.in_metrics(text, 1e9)) == [(one, "receive.tls.cert_file") for one in expected]


def test_batches_that_could_not_be_split_are_named() -> None:
    name = "auditsink_unsplit_batches_total"
    text = f"# TYPE {name} counter\n{name} "
    (finding,) = sink.in_metrics(text + "3.0\n", 1e9)
    assert (finding.urgency, finding.about) == (SOON, "receive")
    assert finding.what.startswith("3 batches could not be split")
    assert not list(sink.in_metrics(text + "0.0\n", 1e9))


@pytest.mark.parametrize(("sinks", "words"), [(1020.0, "ahead of"), (980.0, "behind")])
def test_clocks_that_differ_are_told(sinks: float, words: str) -> None:
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
def test_the_disk_is_judged_for_the_ring_on_it(changes: dict[str, Any], expected: list[tuple[Urgency, str]]) -> None:
    spool = Spool(path=Path("/data/spool"), max_bytes=Size(5 * GIB))
    assert told(sink.in_volume(spool, volume(**changes))) == expected


def test_the_longest_mount_point_counts() -> None:
    mounts = "/dev/a / ext4 rw 0 0\n/dev/b /var xfs rw 0 0\nnone /var/my\\040disk tmpfs rw 0 0\n"
    assert sink.mounted("/var/lib", mounts) == ("/var", "xfs")
    assert sink.mounted("/variable", mounts) == ("/", "ext4")
    assert sink.mounted("/var/my disk/x", mounts) == ("/var/my disk", "tmpfs")


def test_the_examples_of_this_project_are_in_order() -> None:
    assert told(apiserver.in_file(flags.read((CONFIG / "flags.yaml").read_text()))) == []
    for example in CONFIG.glob("kubeconfig-*.yaml"):
        assert told(in_kubeconfig(yaml.safe_load(example.read_text()))) == [], example


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
def test_flags_that_cost_events_are_told(changes: dict[str, str], expected: list[tuple[Urgency, str]]) -> None:
    assert told(apiserver.in_flags({**GOOD, **changes})) == expected


def test_an_apiserver_without_audit_flags_posts_nothing() -> None:
    assert told(apiserver.in_flags({})) == [(LOSING, "apiserver")]


def in_kubeconfig(content: dict[str, Any]) -> list[Finding]:
    file, findings = kubeconfig.read(content)
    return [*findings, *kubeconfig.in_kubeconfig(file)]


def written(server: str, user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": "other", "cluster": {}}, {"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


HTTPS = "https://sink:9880/audit/prod"
PLUGIN = {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (written(HTTPS, {"tokenFile": "/t"}), []),
        (written("http://127.0.0.1:9880/audit"), []),
        (written("http://sink:9880/audit", {"tokenFile": "/t"}), [(LOSING, "kubeconfig server")]),
        (written("http://sink:9880/audit"), [(SOON, "kubeconfig server")]),
        (written(f"{HTTPS}?cluster=prod"), [(SOON, "kubeconfig server")]),
        (written("https://sink:9880"), [(LOSING, "kubeconfig server")]),
        (written(f"{HTTPS}/"), [(ADVICE, "kubeconfig server")]),
        (written("sink:9880"), [(LOSING, "kubeconfig server")]),
        (written("https://sink:99999/audit"), [(LOSING, "kubeconfig server")]),
        (written(HTTPS, None, **{"insecure-skip-tls-verify": True}), [(SOON, "kubeconfig insecure-skip-tls-verify")]),
        (
            written(HTTPS, None, **{"insecure-skip-tls-verify": True, "certificate-authority": "ca.pem"}),
            [(LOSING, "kubeconfig insecure-skip-tls-verify")],
        ),
        (
            written(HTTPS, None, **{"insecure-skip-tls-verify": True, "certificate-authority-data": ""}),
            [(SOON, "kubeconfig insecure-skip-tls-verify")],
        ),
        (
            written(HTTPS, None, **{"insecure-skip-tls-verify": "true"}),
            [(LOSING, "kubeconfig insecure-skip-tls-verify")],
        ),
        (written(HTTPS, {"exec": PLUGIN}), [(LOSING, "kubeconfig user")]),
        (written(HTTPS, {"exec": PLUGIN | {"interactiveMode": "Never"}}), []),
        (written(HTTPS, {"exec": PLUGIN | {"apiVersion": "client.authentication.k8s.io/v1beta1"}}), []),
        (written(HTTPS, {"client-certificate": "c.pem"}), [(LOSING, "kubeconfig user")]),
        (written(HTTPS, {"client-certificate": "c.pem", "client-key-data": "eA=="}), []),
        (written(HTTPS, None, **{"proxy-url": "proxy:3128"}), [(LOSING, "kubeconfig proxy-url")]),
        (written(HTTPS, None, **{"proxy-url": "http://u:p@proxy:3128"}), [(ADVICE, "kubeconfig proxy-url")]),
        (written(HTTPS) | {"kind": "Config"}, []),
        (written(HTTPS) | {"kind": "Cluster"}, [(LOSING, "kubeconfig kind")]),
        ({"kind": "Secret", "stringData": {"kubeconfig": "a"}}, [(LOSING, "kubeconfig kind")]),
        (
            written(HTTPS) | {"users": [{"name": "u", "user": {}}, {"name": "u", "user": {}}]},
            [(LOSING, "kubeconfig users")],
        ),
        (written(HTTPS, {"token": "t"}), [(ADVICE, "kubeconfig user")]),
        (written(HTTPS, {"username": "u", "password": "p"}), [(LOSING, "kubeconfig user")]),
        (written(HTTPS) | {"current-context": ""}, [(LOSING, "kubeconfig current-context")]),
        (written(HTTPS) | {"current-context": "gone"}, [(LOSING, "kubeconfig current-context")]),
        (written(HTTPS) | {"clusters": []}, [(LOSING, "kubeconfig context 'x'")]),
        (written(HTTPS) | {"users": "none"}, [(LOSING, "kubeconfig context 'x'")]),
        ({"clusters": "no list"}, [(LOSING, "kubeconfig current-context")]),
        ({}, [(LOSING, "kubeconfig current-context")]),
    ],
)
def test_a_kubeconfig_that_costs_events_is_told(content: dict[str, Any], expected: list[tuple[Urgency, str]]) -> None:
    assert told(in_kubeconfig(content)) == expected


def test_what_a_proxys_url_holds_is_not_shown() -> None:
    (finding,) = in_kubeconfig(written(HTTPS, None, **{"proxy-url": "http://user:password@proxy:3128"}))
    assert "password" not in str(finding)


def test_a_context_that_is_not_there_is_told_with_those_that_are() -> None:
    (finding,) = in_kubeconfig(written(HTTPS) | {"current-context": "prod"})
    assert str(finding) == (
        "kubeconfig current-context: names context 'prod', which is not in the file; write one of: x"
    )


@pytest.mark.parametrize(
    ("host", "resolves", "expected"),
    [
        ("sink.audit.svc", None, [(SOON, "kubeconfig server")]),
        ("sink.audit.svc.cluster.local", True, [(SOON, "kubeconfig server")]),
        ("sink.audit.svc", False, [(LOSING, "kubeconfig server")]),
        ("sink.example.com", False, []),
    ],
)
def test_the_name_of_a_service_is_told(host: str, resolves: bool | None, expected: list[tuple[Urgency, str]]) -> None:
    assert told(kubeconfig.in_service_name(host, resolves=resolves)) == expected


def beside(server: str, listen: str = "0.0.0.0:9880", tls: bool = True) -> list[tuple[Urgency, str]]:
    file, _ = kubeconfig.read(written(server))
    receive = Receive(tls=ServerTls(cert_file=Path("c"), key_file=Path("k")) if tls else None)
    return told(comparison.in_address(file, receive, parse_address(listen), parse_address("127.0.0.1:2020")))


@pytest.mark.parametrize(
    ("server", "given", "expected"),
    [
        ("https://sink:9880/audit", {}, []),
        ("https://sink/audit", {}, [ADVICE]),
        ("https://127.0.0.1:9881/audit", {}, [LOSING]),
        ("https://127.0.0.1:2020/audit", {}, [LOSING]),
        ("http://sink:9880/audit", {}, [LOSING]),
        ("https://sink:9880/audit", {"tls": False}, [LOSING]),
        ("https://sink:9880/audit", {"listen": "127.0.0.1:9880"}, [LOSING]),
        ("https://127.0.0.1:9880/audit", {"listen": "127.0.0.1:9880"}, []),
        ("https://127.0.0.1:9880/audit", {"listen": "127.0.0.1:0"}, []),
    ],
)
def test_an_address_that_is_not_the_sinks_is_told(server: str, given: dict[str, Any], expected: list[Urgency]) -> None:
    assert [urgency for urgency, _ in beside(server, **given)] == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (PostResult(200, accepted=0), []),
        (PostResult(200), [(LOSING, "kubeconfig server")]),
        (PostResult(401, said="no"), [(LOSING, "kubeconfig user")]),
        (PostResult(404), [(LOSING, "kubeconfig server")]),
        (PostResult(503), [(LOSING, "kubeconfig server")]),
        (PostResult(0, problem="cannot connect"), [(LOSING, "kubeconfig server")]),
        (PostResult(0, problem="refused", tls=True), [(LOSING, "kubeconfig certificate-authority")]),
    ],
)
def test_what_comes_of_a_trial_is_told(result: PostResult, expected: list[tuple[Urgency, str]]) -> None:
    assert told(comparison.in_answer(result, "https://sink/audit")) == expected


def test_no_finding_shows_a_token() -> None:
    found = in_kubeconfig(written("http://sink/audit", {"token": "very-secret"}))
    found += in_kubeconfig(written("ftp://user:very-secret@sink/audit"))
    assert found
    assert "very-secret" not in "".join(map(str, found))


def test_the_most_urgent_comes_first() -> None:
    found = [
        Finding(urgency, str(number), "what", "remedy") for number, urgency in enumerate([ADVICE, LOSING, SOON, LOSING])
    ]
    assert [finding.about for finding in in_order(found)] == ["1", "3", "2", "0"]
