"""`auditsink doctor` beside a sink that runs, one that does not, and files that are not what they should be."""

import asyncio
import base64
import re
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from calling import Call, Said
from running import Sink

APISERVER = Path(__file__).parents[2] / "config" / "apiserver"
NOBODY = "http://127.0.0.1:1"


async def test_a_running_sink_is_asked_and_its_trouble_told_in_order(tmp_path: Path, auditsink: Call) -> None:
    destinations = [
        {"name": "disk", "type": "file", "path": str(tmp_path / "audit.ndjson")},
        {"name": "siem", "type": "splunk", "url": NOBODY, "token": "very-secret"},
    ]
    async with Sink(tmp_path / "sink", destinations) as sink:
        code, _ = await sink.post(b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{"auditID":"1"}]}')
        assert code == 200
        await sink.until(lambda status: status["destinations"][1]["state"] == "retrying")
        said = await asyncio.to_thread(
            auditsink, "doctor", "--url", sink.admin, "-c", str(sink.config),
            "--kubeconfig", str(APISERVER / "kubeconfig-plain.yaml"), "--apiserver", str(APISERVER / "flags.yaml"),
        )  # fmt: skip
    assert said.out.startswith("look: siem takes nothing since ")
    assert "  $ auditsink check -c FILE --connect\n" in said.out
    assert said.code == 3
    assert "destination siem: takes nothing" in said.out
    assert "destination disk" not in said.out
    assert "very-secret" not in said.out + said.err
    assert "sink: does not answer" not in said.out


def test_no_sink_is_the_first_thing_to_fix(auditsink: Call) -> None:
    said = auditsink("doctor", "--url", NOBODY)
    assert said.code == 4
    assert "sink: does not answer" in said.out.splitlines()[1]


@pytest.mark.parametrize("content", ["- a list", "{", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_one_line(content: str, tmp_path: Path, auditsink: Call) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(content)
    said = auditsink("doctor", "--url", NOBODY, "--kubeconfig", str(file))
    assert said.code == 1
    assert f"{file}: is no kubeconfig" in said.err


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, auditsink: Call) -> None:
    said = auditsink("doctor", "--url", NOBODY, "--apiserver", str(tmp_path / "gone"))
    assert said.code == 1
    assert "gone" in said.err
    assert "Traceback" not in said.err


class Files:
    """A sink's configuration with TLS and tokens, and a kubeconfig for it that is in order, to be spoilt."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ca = trustme.CA()
        self.sink = self.ca.issue_cert("sink.example.com", "127.0.0.1")
        self.client = self.ca.issue_cert("apiserver", common_name="shoot-1")
        self.ca.cert_pem.write_to_path(place / "ca.pem")
        for name, leaf in (("sink", self.sink), ("client", self.client)):
            leaf.private_key_pem.write_to_path(place / f"{name}.key")
            (place / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        (place / "tokens").write_text("shoot-1 first-token-of-one\nshoot-2 second-token\n")
        (place / "token").write_text("first-token-of-one\n")
        self.tls: dict[str, str] = {"cert_file": str(place / "sink.pem"), "key_file": str(place / "sink.key")}
        self.receive: dict[str, Any] = {"listen": "0.0.0.0:9880", "tls": self.tls, "tokens_file": str(place / "tokens")}
        self.more: dict[str, Any] = {}
        self.cluster: dict[str, Any] = {
            "server": "https://sink.example.com:9880/audit/shoot-1",
            "certificate-authority": "ca.pem",
        }
        self.user: dict[str, Any] = {"tokenFile": "token"}

    def options(self) -> list[str]:
        config = {
            "receive": self.receive,
            "spool": {"path": str(self.place / "spool"), "max_bytes": "1MiB", "segment_bytes": "64KiB"},
            "destinations": [{"name": "out", "type": "stdout"}],
            **self.more,
        }  # fmt: skip
        kubeconfig = {
            "clusters": [{"name": "c", "cluster": self.cluster}], "users": [{"name": "u", "user": self.user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x",
        }  # fmt: skip
        (self.place / "sink.yaml").write_text(yaml.safe_dump(config))
        (self.place / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        return ["--url", NOBODY, "-c", str(self.place / "sink.yaml"), "--kubeconfig", str(self.place / "kubeconfig")]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def findings(said: Said) -> list[str]:
    """What is said of the kubeconfig."""
    return [line.strip() for line in said.out.splitlines() if line.startswith("  kubeconfig")]


def test_a_kubeconfig_that_fits_the_sink_is_in_order(files: Files, auditsink: Call) -> None:
    assert findings(auditsink("doctor", *files.options())) == []
    files.cluster |= {"server": "https://10.0.0.1:9880/audit", "tls-server-name": "sink.example.com"}
    assert findings(auditsink("doctor", *files.options())) == []
    ca = base64.b64encode((files.place / "ca.pem").read_bytes()).decode()
    files.cluster = {"server": "https://sink.example.com:9880/audit/", "certificate-authority-data": ca}
    assert [line.split(":")[0] for line in findings(auditsink("doctor", *files.options()))] == ["kubeconfig server"]


def test_base64_may_have_line_breaks_and_a_second_document_is_passed_over(files: Files, auditsink: Call) -> None:
    ca = base64.encodebytes((files.place / "ca.pem").read_bytes()).decode()
    files.cluster = {"server": "https://sink.example.com:9880/audit/shoot-1", "certificate-authority-data": ca}
    options = files.options()
    with (files.place / "kubeconfig").open("a") as kubeconfig:
        kubeconfig.write("---\nkind: Namespace\n---\n")
    said = auditsink("doctor", *options)
    assert findings(said) == []
    assert "is no kubeconfig" not in said.err


def test_a_client_certificate_is_looked_at_as_the_sink_would(files: Files, auditsink: Call) -> None:
    del files.receive["tokens_file"]
    files.tls["client_ca_file"] = str(files.place / "ca.pem")
    files.more = {"clusters": [{"name": "shoot-1", "certificates": ["cn:shoot-1"]}]}
    files.user = {"client-certificate": "client.pem", "client-key": "client.key"}
    assert findings(auditsink("doctor", *files.options())) == []
    files.cluster["server"] = "https://sink.example.com:9880/audit/shoot-2"
    (refused,) = findings(auditsink("doctor", *files.options()))
    assert "you are cluster shoot-1" in refused
    files.user = {}
    assert "the sink would end the handshake" in findings(auditsink("doctor", *files.options()))[0]


@pytest.mark.parametrize(
    ("cluster", "user", "expected"),
    [
        ({"server": "https://sink.example.com:9880/k8s-audit"}, {}, "nothing is here; post to /audit"),
        ({"server": "https://sink.example.com:9880/audit/Prod_1"}, {}, "no cluster can have this name"),
        ({"server": "https://sink.example.com:9880/audit/shoot-2"}, {}, "you are cluster shoot-1"),
        ({"server": "http://sink.example.com:9880/audit/shoot-1"}, {}, "is http, and the sink speaks https"),
        ({"server": "https://127.0.0.1:9881/audit/shoot-1"}, {}, "has port 9881, and the sink listens on 9880"),
        ({"server": "https://other.example.com:9880/audit/shoot-1"}, {}, "not valid for 'other.example.com'"),
        ({"tls-server-name": "other.example.com"}, {}, "not valid for 'other.example.com'"),
        ({"certificate-authority": ""}, {}, "would not accept the sink's certificate"),
        ({"certificate-authority": "gone.pem"}, {}, "gone.pem: No such file or directory"),
        (
            {"certificate-authority-data": "!"},
            {},
            "is no base64: the apiserver does not start",
        ),
        ({"certificate-authority-data": "QUJD REVG"}, {}, "certificate-authority-data is no base64"),
        ({"certificate-authority-data": "QUJ\u00e9"}, {}, "certificate-authority-data is no base64"),
        ({}, {"tokenFile": "", "token": "wrong-token-of-all"}, "this bearer token is not known here"),
        ({}, {"tokenFile": ""}, "send a bearer token of receive.tokens_file"),
        ({}, {"tokenFile": "gone"}, "gone: No such file or directory"),
    ],
)
def test_a_kubeconfig_that_does_not_fit_the_sink_is_told(
    files: Files, auditsink: Call, cluster: dict[str, Any], user: dict[str, Any], expected: str
) -> None:
    files.cluster |= cluster
    files.user |= user
    said = auditsink("doctor", *files.options())
    assert any(expected in line for line in findings(said)), said.out
    assert "token-of" not in said.out + said.err


def test_the_form_of_the_flags_is_said(tmp_path: Path, auditsink: Call) -> None:
    (tmp_path / "config.yaml").write_text(
        "kube-apiserver-arg: [audit-policy-file=/p, audit-webhook-truncate-enabled]\n"
    )
    said = auditsink("doctor", "--url", NOBODY, "--apiserver", tmp_path / "config.yaml")
    assert f"{tmp_path}/config.yaml: read as RKE2's or k3s's kube-apiserver-arg: 2 audit flags" in said.out
    (tmp_path / "other.yaml").write_text("a: b\n")
    said = auditsink("doctor", "--url", NOBODY, "--apiserver", tmp_path / "other.yaml")
    assert "holds no audit flag in any form that is known" in said.out


async def test_a_trial_posts_an_empty_list_and_refused_ones_are_told_with_their_peer(
    tmp_path: Path, auditsink: Call
) -> None:
    async with Sink(tmp_path / "sink", [{"name": "out", "type": "stdout"}]) as sink:
        good = {"clusters": [{"name": "c", "cluster": {"server": f"{sink.receive}/prod"}}], "current-context": "x",
                "contexts": [{"name": "x", "context": {"cluster": "c"}}]}  # fmt: skip
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(good))
        options = ["doctor", "--url", sink.admin, "--kubeconfig", str(tmp_path / "kubeconfig"), "--try"]
        said = await asyncio.to_thread(auditsink, *options)
        assert f"Posted an empty EventList to {sink.receive}/prod as that apiserver would: accepted." in said.out
        good["clusters"][0]["cluster"]["server"] = f"{sink.receive}-wrong"  # type: ignore[index]
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(good))
        said = await asyncio.to_thread(auditsink, *options)
        assert said.code == 4
        assert "answers HTTP 404 (nothing is here; post to /audit or /audit/CLUSTER)" in said.out
        said = await asyncio.to_thread(auditsink, "doctor", "--url", sink.admin)
        assert re.search(r"1 requests were refused .*, the last from 127\.0\.0\.1:\d+ to /audit-wrong at 20", said.out)


def test_a_trial_needs_a_kubeconfig(auditsink: Call) -> None:
    said = auditsink("doctor", "--url", NOBODY, "--try")
    assert (said.code, "name its --kubeconfig" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("spool", "told"),
    [({}, True), ({"type": "kafka", "bootstrap_servers": ["127.0.0.1:1"]}, False)],
    ids=["a ring", "a topic"],
)
def test_only_a_ring_has_to_fit_the_volume(
    spool: dict[str, Any], *, told: bool, tmp_path: Path, auditsink: Call
) -> None:
    config = {
        "spool": {"path": str(tmp_path / "spool"), "max_bytes": "100000GiB", **spool},
        "destinations": [{"name": "out", "type": "stdout"}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    said = auditsink("doctor", "--url", NOBODY, "-c", str(tmp_path / "config.yaml"))
    assert (said.code, "do not fit" in said.out) == (4, told)
