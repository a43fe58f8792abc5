"""From settings to destinations: lazily imported, and every mistake one sentence with the key and the remedy."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from auditsink.common.secret import Secret
from auditsink.common.units import Duration, Size
from auditsink.config import (
    ClientTls,
    FileConfig,
    HttpAuth,
    HttpConfig,
    KafkaConfig,
    KafkaSecurity,
    Packing,
    SplunkConfig,
    StdoutConfig,
)
from auditsink.config.destination import DestinationSection
from auditsink.config.http import HttpFormat
from auditsink.delivery.destination import DestinationError, Limits
from auditsink.destinations import build
from auditsink.destinations.formats import FORMATS, format_of
from auditsink.testing.clock import FakeClock

TOKEN = Secret("s3cr3t-t0ken")


def test_each_type_is_built_with_its_name_and_its_own_limits(tmp_path: Path) -> None:
    configs = [
        SplunkConfig(name="siem", url="https://hec:8088", token=TOKEN),
        KafkaConfig(name="lake", bootstrap_servers=["kafka:9092"]),
        HttpConfig(name="hook", url="http://hook/x"),
        FileConfig(name="disk", path=tmp_path / "audit.ndjson"),
        StdoutConfig(name="out"),
    ]
    built = [build(config, clock=FakeClock()) for config in configs]

    assert [(one.name, one.type) for one in built] == [
        ("siem", "splunk"),
        ("lake", "kafka"),
        ("hook", "http"),
        ("disk", "file"),
        ("out", "stdout"),
    ]
    assert [one.limits.in_flight for one in built] == [2, 1, 1, 1, 1]
    assert all(one.limits.max_bytes <= 1_000_000 for one in built)


def test_what_the_file_says_about_packing_wins() -> None:
    config = SplunkConfig(
        name="siem",
        url="https://hec",
        token=TOKEN,
        batch=Packing(max_bytes=Size(5), max_events=6, max_wait=Duration(7)),
        in_flight=8,
    )

    assert build(config, clock=FakeClock()).limits == Limits(5, 6, 7, 8)


def test_a_splunk_that_waits_for_acknowledgements_has_more_in_flight() -> None:
    config = SplunkConfig(name="siem", url="https://hec", token=TOKEN, acknowledge=True)

    assert build(config, clock=FakeClock()).limits.in_flight == 16


def test_only_what_is_configured_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from auditsink.config import FileConfig; from auditsink.destinations import build;"
        "from auditsink.common.clock import SystemClock; from pathlib import Path;"
        f"build(FileConfig(name='d', path=Path({str(tmp_path / 'a')!r})), clock=SystemClock());"
        "print([name for name in ('aiokafka', 'aiohttp', 'ssl') if name in sys.modules and name != 'ssl'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("auditsink.destinations.kafka", "auditsink.kafka.link"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "aiokafka", None)

    with pytest.raises(DestinationError) as caught:
        build(KafkaConfig(name="lake", bootstrap_servers=["kafka:9092"]), clock=FakeClock())
    assert str(caught.value) == "destinations[lake].type: kafka needs the extra: pip install 'auditsink[kafka]'"


def splunk(**settings: Any) -> SplunkConfig:
    return SplunkConfig(**{"name": "siem", "url": "https://hec:8088", "token": TOKEN, **settings})


def http(**settings: Any) -> HttpConfig:
    return HttpConfig(**{"name": "hook", "url": "https://hook/x", **settings})


def mistakes(tmp_path: Path) -> list[tuple[DestinationSection, str, str]]:
    missing = tmp_path / "missing"
    empty = tmp_path / "empty"
    empty.write_bytes(b"\n")
    odd = tmp_path / "odd"
    odd.write_bytes(b"two words")
    plain = tmp_path / "plain"
    plain.write_bytes(b"no certificate")
    return [
        (splunk(token=None, token_file=missing), "destinations[siem].token_file", "missing"),
        (splunk(token=None, token_file=empty), "destinations[siem].token_file", "is empty"),
        (splunk(token=None, token_file=odd), "destinations[siem].token_file", "holds spaces"),
        (splunk(token=None), "destinations[siem].token_file", "is missing"),
        (splunk(token=Secret("t0ken\r\nX-Evil: 1")), "destinations[siem].token:", "line breaks"),
        (splunk(url="hec:8088"), "destinations[siem].url", "is no URL"),
        (splunk(url="ftp://hec"), "destinations[siem].url", "is no URL"),
        (splunk(url="https://[::1"), "destinations[siem].url", "is no URL"),
        (splunk(url="https://hec:99999"), "destinations[siem].url", "is no URL"),
        (splunk(url="https://admin:t0psecret@hec:8088"), "destinations[siem].url", "holds credentials"),
        (splunk(url="https://hec:8088/?channel=1"), "destinations[siem].url", "ends in a query"),
        (splunk(tls=ClientTls(ca_file=missing)), "destinations[siem].tls.ca_file", "cannot be read"),
        (splunk(tls=ClientTls(ca_file=plain)), "destinations[siem].tls.ca_file", "holds no certificate"),
        (
            splunk(tls=ClientTls(cert_file=missing, key_file=plain)),
            "destinations[siem].tls.cert_file",
            "cannot be read",
        ),
        (splunk(tls=ClientTls(cert_file=plain, key_file=plain)), "destinations[siem].tls.cert_file", "cannot be used"),
        (http(url="https://{cluster}.hook/x"), "destinations[hook].url", "template in its host"),
        (http(auth=HttpAuth(bearer_file=missing)), "destinations[hook].auth.bearer_file", "missing"),
        (http(auth=HttpAuth(username="u", password_file=missing)), "destinations[hook].auth.password_file", "missing"),
        (
            KafkaConfig(
                name="lake",
                bootstrap_servers=["k:9092"],
                security=KafkaSecurity(mechanism="PLAIN", username="u", password_file=missing),
            ),
            "destinations[lake].security.password_file",
            "missing",
        ),
        (
            KafkaConfig(
                name="lake", bootstrap_servers=["k:9092"], security=KafkaSecurity(tls=ClientTls(ca_file=missing))
            ),
            "destinations[lake].security.tls.ca_file",
            "cannot be read",
        ),
        (FileConfig(name="disk", path=tmp_path), "destinations[disk].path", "directory"),
        (FileConfig(name="disk", path=plain / "below" / "a"), "destinations[disk].path", "directory"),
    ]


def test_every_mistake_names_its_key_and_no_secret(tmp_path: Path) -> None:
    for config, where, why in mistakes(tmp_path):
        with pytest.raises(DestinationError) as caught:
            build(config, clock=FakeClock())
        said = str(caught.value)
        assert said.startswith(where), said
        assert why in said, said
        assert "t0ken" not in said, said
        assert "t0psecret" not in said, said
        assert "\n" not in said, said


def test_standard_output_may_be_closed() -> None:
    script = (
        "import os; os.close(1)\n"
        "from auditsink.config import StdoutConfig; from auditsink.destinations.stdout import StdoutDestination\n"
        "from auditsink.delivery.destination import DestinationError; from auditsink.common.clock import SystemClock\n"
        "import sys\n"
        "try: StdoutDestination(StdoutConfig(name='out'), SystemClock())\n"
        "except DestinationError as problem: print(problem, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stderr.startswith("destinations[out].type: standard output is closed")


def test_each_format_that_can_be_configured_is_found() -> None:
    assert set(FORMATS) == set(get_args(HttpFormat))
    for form in FORMATS:
        assert format_of(HttpConfig(name="hook", url="https://hook", format=form)).answer_limit > 0
