"""`auditsink init`: what it writes passes `check`, and a sink that runs with it takes what its apiserver posts."""

import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from calling import Call
from click.testing import CliRunner
from corpus import archive
from hypothesis import given
from hypothesis import strategies as st
from running import Sink

from auditsink import load
from auditsink.cli import init
from auditsink.cli.init_files import DESTINATIONS, Answers, configuration
from auditsink.common.listen import bound
from auditsink.config import FileConfig
from auditsink.doctor import apiserver
from auditsink.doctor.flags import read as read_flags
from auditsink.doctor.kubeconfig import in_kubeconfig
from auditsink.doctor.kubeconfig import read as read_kubeconfig
from auditsink.filters.policy import parse_policy

TO = {
    "file": "audit.ndjson",
    "splunk": "https://splunk.example.com:8088",
    "http": "https://collector.example.com/audit",
    "kafka": "kafka-0:9092, kafka-1:9092",
    "s3": "audit",
}
CREDENTIALS = tuple(init.CREDENTIALS)
EVENTS = 1919


@pytest.fixture
def address() -> Iterator[str]:
    """One that nobody listens on, held until the end: only who listens on it by its number gets it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield str(bound(held))


def options(place: Path, destination: str, **others: object) -> list[object]:
    """For an `init` that asks nothing."""
    given: dict[str, object] = {"destination": destination, "cluster": "prod", **others}
    if destination in TO:
        given["to"] = place / "audit.ndjson" if destination == "file" else TO[destination]
    if destination in {"splunk", "http"}:
        secret = place / "their-token"
        secret.write_text("a-token-of-theirs")
        secret.chmod(0o600)
        given["secret-file"] = secret
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    return ["init", place / "made", *flags]


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_what_it_writes_passes_check(destination: str, credential: str, tmp_path: Path, auditsink: Call) -> None:
    done = auditsink(*options(tmp_path, destination, credential=credential, server="sink.example.com:9880"))
    assert done.code == 0, done.err
    assert str(tmp_path / "made") in done.out
    checked = auditsink("check", "-c", tmp_path / "made" / "config.yaml")
    assert checked.code == 0, checked.err
    assert "may be read or changed by everybody" not in checked.out
    if credential != "none":
        assert "the 1 cluster declared here" in checked.out


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_a_sink_takes_what_its_apiserver_posts_and_nothing_without_the_credential(
    credential: str, address: str, tmp_path: Path, auditsink: Call
) -> None:
    done = auditsink(*options(tmp_path, "file", credential=credential, listen=address))
    assert done.code == 0, done.err
    sink = Sink(tmp_path / "sink", [])
    sink.config = tmp_path / "made" / "config.yaml"
    sink.config.write_text(sink.config.read_text().replace("127.0.0.1:2020", "127.0.0.1:0"))
    cluster, user, names = kubeconfig(tmp_path / "made" / "apiserver")
    async with sink:
        posting = ["send", archive("batch-default-mixed-http"), "--url", cluster["server"], *names["ca"]]
        posted = call(*posting, *names["cert"], *names["key"], *names["token-file"])
        assert posted.returncode == 0, posted.stderr
        assert f"{EVENTS:,} events" in posted.stdout
        if user:
            assert await answer(cluster["server"], names["ca"]) in {None, 401}
    assert load.load(sink.config).admin.token_file == tmp_path / "made" / "admin-token"


async def answer(url: str, ca: list[object]) -> int | None:
    """The status that somebody without a credential gets; None: the handshake is as far as he comes."""
    trusting = ssl.create_default_context(cafile=str(ca[1]))
    async with aiohttp.ClientSession() as client:
        try:
            async with client.post(url, data=b"{}", ssl=trusting) as answered:
                return answered.status
        except aiohttp.ClientError:
            return None


def kubeconfig(place: Path) -> tuple[dict[str, str], dict[str, str], dict[str, list[object]]]:
    """The cluster and the user in it, and its files as options of `send`."""
    content: dict[str, Any] = yaml.safe_load((place / "kubeconfig.yaml").read_text())
    ((cluster,), (user,)) = (
        [one["cluster"] for one in content["clusters"]],
        [one["user"] for one in content["users"]],
    )
    named = {
        "ca": cluster.get("certificate-authority"),
        "cert": user.get("client-certificate"),
        "key": user.get("client-key"),
        "token-file": user.get("tokenFile"),
    }
    return cluster, user, {name: [f"--{name}", place / file] if file else [] for name, file in named.items()}


def call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "auditsink", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_the_doctor_finds_nothing_in_kubeconfig_and_flags(credential: str, tmp_path: Path, auditsink: Call) -> None:
    assert auditsink(*options(tmp_path, "stdout", credential=credential)).code == 0
    place = tmp_path / "made" / "apiserver"
    used, findings = read_kubeconfig(yaml.safe_load((place / "kubeconfig.yaml").read_text()))
    assert [*findings, *in_kubeconfig(used)] == []
    flags = read_flags((place / "flags.yaml").read_text())
    assert [*apiserver.in_file(flags), *apiserver.in_flags(flags.given)] == []
    assert flags.given["audit-policy-file"] == "/etc/kubernetes/auditsink/policy.yaml"
    assert parse_policy((place / "policy.yaml").read_bytes(), "policy").rules


def test_secrets_are_for_their_owner_and_are_not_shown(tmp_path: Path, auditsink: Call) -> None:
    done = auditsink(*options(tmp_path, "splunk", credential="token"))
    made = tmp_path / "made"
    hidden = [path for path in made.rglob("*") if "token" in path.name or path.suffix == ".key"]
    assert {path.name for path in hidden} == {"admin-token", "token", "ca.key", "server.key"}
    for path in hidden:
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO
        assert path.read_text().strip() not in done.out + done.err
    assert (made / "token").read_text() == (made / "apiserver" / "token").read_text()


def test_no_file_is_replaced_unless_that_is_asked_for(tmp_path: Path, auditsink: Call) -> None:
    words = options(tmp_path, "stdout", credential="token")
    assert auditsink(*words).code == 0
    before = (tmp_path / "made" / "token").read_text()
    refused = auditsink(*words)
    assert refused.code == 1
    assert "config.yaml is there already" in refused.err
    assert "--force" in refused.err
    assert (tmp_path / "made" / "token").read_text() == before
    assert auditsink(*words, "--force").code == 0
    assert (tmp_path / "made" / "token").read_text() != before


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--destination", "splunk"], 2, "--to is missing: what is the URL of its HTTP Event Collector"),
        (["--destination", "splunk", "--to", "https://hec:8088"], 2, "--secret-file is missing"),
        (["--destination", "http", "--to", "collector:80"], 1, "destinations[0].url: is no URL"),
        (["--destination", "kafka", "--to", "kafka"], 1, "bootstrap_servers[0]: is no address"),
        (["--destination", "stdout", "--cluster", "Prod_1"], 2, "a cluster's name is 1 to 63"),
        (["--destination", "stdout", "--listen", "9880"], 2, "is no address"),
        (["--destination", "stdout", "--listen", "0.0.0.0:9880"], 2, "--credential none is for loopback only"),
        (["--destination", "stdout", "--tls-cert", __file__], 2, "--tls-cert and --tls-key go together"),
        (["--destination", "elastic"], 2, "'elastic' is not one of"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    words: list[str], code: int, complaint: str, tmp_path: Path, auditsink: Call
) -> None:
    refused = auditsink("init", tmp_path / "made", *words)
    assert (refused.code, complaint in refused.err) == (code, True), refused.err
    assert not (tmp_path / "made").exists()


def test_it_asks_a_person_again_until_the_answer_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "_person", lambda: True)
    answers = [
        "splunk", "https://splunk:8088", "typed-token", "Not A Name", "prod", "token", "9880", "0.0.0.0:9880",
        "audit.example:9880",
    ]  # fmt: skip
    done = CliRunner().invoke(init.command, [str(tmp_path / "made")], input="\n".join(answers) + "\n")
    assert done.exit_code == 0, done.output
    assert "a cluster's name is 1 to 63" in done.output
    assert "write host:port" in done.output
    assert "typed-token" not in done.output
    assert (tmp_path / "made" / "destination-token").read_text() == "typed-token\n"
    config = load.load(tmp_path / "made" / "config.yaml")
    assert config.receive.listen == "0.0.0.0:9880"
    cluster, _, _ = kubeconfig(tmp_path / "made" / "apiserver")
    assert cluster["server"] == "https://audit.example:9880/audit/prod"


def test_a_certificate_of_ones_own_is_taken(tmp_path: Path, auditsink: Call) -> None:
    for name in ("a.crt", "a.key", "ca.crt"):
        (tmp_path / name).write_text(name)
    mine = {"tls-cert": tmp_path / "a.crt", "tls-key": tmp_path / "a.key", "tls-ca": tmp_path / "ca.crt"}
    assert auditsink(*options(tmp_path, "stdout", credential="token", **mine)).code == 0
    config = load.load(tmp_path / "made" / "config.yaml")
    assert config.receive.tls is not None
    assert config.receive.tls.cert_file == tmp_path / "a.crt"
    assert (tmp_path / "made" / "apiserver" / "ca.crt").read_text() == "ca.crt"
    assert not (tmp_path / "made" / "ca.key").exists()


def test_without_the_library_for_certificates_it_says_what_to_install(
    tmp_path: Path, auditsink: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("auditsink.gardener.certificates")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    refused = auditsink(*options(tmp_path, "stdout", credential="certificate"))
    assert refused.code == 1
    assert "pip install 'auditsink[evidence]'" in refused.err
    assert not (tmp_path / "made").exists()


printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(printable, printable)
def test_whatever_is_answered_stands_in_the_file_as_it_was_answered(to: str, spool: str) -> None:
    answers = Answers(
        directory=Path("/made"), destination="file", to=f"/{to}", secret_file=None, cluster="prod",
        listen="127.0.0.1:9880", server="127.0.0.1:9880", credential="none", spool=Path(f"/{spool}"),
        tls_cert=Path("c"), tls_key=Path("k"), apiserver_directory="/etc",
    )  # fmt: skip
    (disk,) = load.parse(configuration(answers).encode(), "made", {}).destinations
    assert isinstance(disk, FileConfig)
    assert disk.path == Path(f"/{to}")
