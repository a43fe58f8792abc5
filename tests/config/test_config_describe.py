"""What `check` says of a configuration."""

import pytest

from auditsink import load

DISK = "{name: disk, type: file, path: /x/audit.ndjson}"
SAFE = """
receive: {listen: "0.0.0.0:9880", tls: {cert_file: c, key_file: k, client_ca_file: a}}
destinations:
  - {name: siem, type: splunk, url: "https://hec:8088/CANARY?CANARY", token: CANARY-TOKEN, index: audit}
  - {name: lake, type: kafka, bootstrap_servers: ["k:9092"], security: {tls: {}}}
  - {name: hook, type: http, url: "https://h/CANARY?key=CANARY", headers: {X-Key: CANARY}}
  - {name: near, type: http, url: "http://localhost:1", proxy: {url: "http://proxy:1", username: u, password: CANARY}}
  - {name: disk, type: file, path: /x/audit.ndjson}
  - {name: out, type: stdout}
"""


def plan(text: str) -> str:
    return "\n".join(load.parse(text.encode(), "f", {}).plan())


def risks(text: str) -> list[str]:
    return list(load.parse(text.encode(), "f", {}).risks())


def test_the_plan_says_what_would_run() -> None:
    assert plan(SAFE).splitlines() == [
        "listens on https://0.0.0.0:9880 for POST /audit and /audit/CLUSTER",
        "takes batches from whoever shows a certificate of client_ca_file",
        "calls what comes without a cluster's name 'default'",
        "answers 200 for a batch when the disk has confirmed it",
        (
            "keeps up to 1 GiB in /var/lib/auditsink; when that is full, it refuses with 503 and Retry-After, and the "
            "apiserver tries again"
        ),
        "delivers to siem: Splunk HEC at https://hec:8088, index audit, sourcetype kube:apiserver-audit",
        "delivers to lake: Kafka at k:9092, topic audit.{cluster}",
        "delivers to hook: HTTP at https://h, as ndjson",
        "delivers to near: HTTP at http://localhost:1 through the proxy http://proxy:1, as ndjson",
        "delivers to disk: file /x/audit.ndjson, 4 old ones kept, 256 MiB each",
        "delivers to out: standard output",
        "tells how it is on http://127.0.0.1:2020 (/livez, /readyz, /metrics, /status, a page)",
        (
            "shows events and dead letters there to whoever is on this machine; nobody can change anything "
            "(set admin.token_file)"
        ),
    ]


CLUSTERS = 'clusters: [{name: a, certificates: ["cn:a"]}, {name: b, certificates: ["cn:b"]}]'


def test_a_careful_configuration_has_no_risks() -> None:
    assert risks(SAFE + CLUSTERS) == []


def test_a_certificate_that_may_speak_for_anybody_is_a_risk() -> None:
    (risk,) = risks(SAFE)
    assert risk.startswith("clusters: is not set, so whoever has any certificate")


def test_declared_clusters_are_said() -> None:
    assert "takes batches from the 2 clusters declared here, each by its own credential, and nobody" in plan(
        SAFE + CLUSTERS
    )
    assert "from those of the files in /d, each by its own" in plan(SAFE + "clusters: {directory: /d}")


def test_an_anonymous_cluster_is_a_risk_and_no_other_can_be_posted_for() -> None:
    text = (
        "receive: {listen: '0.0.0.0:9880'}\nclusters: [{name: a, anonymous: true}, {name: b, tokens: [t]}]\n"
        f"destinations: [{DISK}]"
    )
    assert [one.split(":")[0] for one in risks(text)] == ["receive.tls", "clusters[0].anonymous", "clusters"]
    assert "each by its own credential (without one: a), and nobody else" in plan(text)


def test_nothing_secret_is_said() -> None:
    text = SAFE.replace("https://", "http://") + "admin: {listen: '0.0.0.0:2020'}"
    assert "CANARY" not in plan(text) + "\n".join(risks(text))


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("", "anybody who reaches the port"),
        ("receive: {tokens_file: t}", "whoever shows a token of tokens_file"),
        (
            "receive: {tokens_file: t, tls: {cert_file: c, key_file: k, client_ca_file: a}}",
            "whoever shows a certificate of client_ca_file and a token of tokens_file",
        ),
    ],
)
def test_who_may_post_is_said(text: str, who: str) -> None:
    assert f"takes batches from {who}\n" in plan(f"{text}\ndestinations: [{DISK}]")


LOCAL = 'receive: {listen: "127.0.0.1:1"'


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("receive: {}", ["receive.listen: anybody who reaches", "receive.tls: is not set"]),
        (
            "receive: {tokens_file: t}",
            ["receive.tokens_file: kube-apiserver sends no token", "receive.tls: is not set"],
        ),
        ("receive: {tls: {cert_file: c, key_file: k}}", ["receive.listen: anybody who reaches"]),
        (LOCAL + "}", []),
        (LOCAL + ", idle_timeout: 60s}", ["receive.idle_timeout: below the 90s"]),
        (LOCAL + ", request_timeout: 10s}", ["receive.request_timeout: below the 30s"]),
        (LOCAL + "}\nspool: {durability: interval}", ["spool.durability: interval loses up to a second"]),
        (LOCAL + "}\nspool: {durability: os}", ["spool.durability: os loses half a minute"]),
        (LOCAL + "}\nspool: {when_full: drop_oldest}", ["spool.when_full: drop_oldest loses events"]),
        (LOCAL + "}\nspool: {max_bytes: 32MiB, segment_bytes: 1MiB}", ["spool.max_bytes: a body of receive.max_body"]),
        (LOCAL + "}\nadmin: {listen: ':2020'}", ["admin.listen: whoever reaches it"]),
    ],
)
def test_a_risk_of_the_sink_is_said(section: str, expected: list[str]) -> None:
    found = risks(f"{section}\ndestinations: [{DISK}]")
    assert len(found) == len(expected)
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ('type: http, url: "http://collector/x"', "destinations[0].url: is plain http"),
        (
            'type: http, url: "https://h", auth: {oauth2: {token_url: "http://t", client_id: c, client_secret: s}}',
            "destinations[0].auth.oauth2.token_url: is plain http",
        ),
        (
            'type: splunk, url: "https://h", token: t, tls: {insecure_skip_verify: true}',
            "tls.insecure_skip_verify: anyb",
        ),
        ("type: kafka, bootstrap_servers: ['k:1']", "destinations[0].security.tls: is not set"),
        (
            "type: kafka, bootstrap_servers: ['k:1'], security: {tls: {insecure_skip_verify: true}}",
            ".security.tls.insec",
        ),
    ],
)
def test_a_risk_of_a_destination_is_said(destination: str, expected: str) -> None:
    (found,) = risks(f"{LOCAL}}}\ndestinations: [{{name: a, {destination}}}]")
    assert expected in found
