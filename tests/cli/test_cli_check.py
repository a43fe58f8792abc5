"""`auditsink check`."""

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from calling import Call

from auditsink.cli import check

LOCAL = "receive: {listen: '127.0.0.1:0'}\nadmin: {listen: '127.0.0.1:0'}\n"
"""Ports that no other process has: one in use is a risk to be told of."""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_a_good_file_is_told_in_words(auditsink: Call, tmp_path: Path) -> None:
    spool = f"spool: {{path: {tmp_path}, max_bytes: 128MiB}}\n"
    said = auditsink("check", "-c", written(tmp_path, f"{LOCAL}{spool}destinations: [{{name: out, type: stdout}}]"))
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("This sink\n  listens on http://127.0.0.1:0 for POST /audit")
    assert "  delivers to out: standard output\n" in said.out
    assert "Risks" not in said.out


def test_without_a_file_the_embedded_default_is_told(
    auditsink: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = auditsink("check")
    assert said.code == 0
    assert "delivers to file: file data/audit.ndjson" in said.out
    assert list(tmp_path.iterdir()) == []


def test_every_mistake_is_a_line(auditsink: Call, tmp_path: Path) -> None:
    path = written(tmp_path, "receive: {liste: 1}\nspool: {max_bytes: x}\ndestinations: []")
    said = auditsink("check", "-c", path)
    assert (said.code, said.out) == (1, "")
    assert [line.split(": ")[:3] for line in said.err.splitlines()] == [
        ["auditsink", f"{path}:1", "receive.liste"],
        ["auditsink", f"{path}:2", "spool.max_bytes"],
    ]


def test_a_spool_where_no_directory_can_be_is_told(auditsink: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = f"spool: {{path: {tmp_path}/file/spool}}\ndestinations: [{{name: out, type: stdout}}]"
    said = auditsink("check", "-c", written(tmp_path, text))
    assert said.code == 1
    assert f"spool.path: {tmp_path}/file/spool: {tmp_path}/file is no directory; name another path" in said.err
    assert "It would not run: 1 to mend." in said.out


def test_a_certificate_that_cannot_be_shown_is_told(auditsink: Call, tmp_path: Path) -> None:
    mine, others = (trustme.CA().issue_cert("sink.test", not_after=datetime(2020, 1, 1, tzinfo=UTC)) for _ in range(2))
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = f"receive: {{listen: '127.0.0.1:0', tls: {{cert_file: {tmp_path}/cert.pem, key_file: {tmp_path}/key.pem}}}}"
    path = written(tmp_path, f"{tls}\nspool: {{path: {tmp_path}/s}}\ndestinations: [{{name: out, type: stdout}}]")

    others.private_key_pem.write_to_path(tmp_path / "key.pem")
    said = auditsink("check", "-c", path)
    assert said.code == 1
    assert f"receive.tls.key_file {tmp_path}/key.pem: does not belong to the certificate in" in said.err

    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    said = auditsink("check", "-c", path)
    assert (said.code, said.err) == (0, "")
    assert "receive.tls.cert_file: the certificate ended 2020-01-01T00:00:00Z; write another into the file" in said.out


def test_risks_are_said_and_are_no_error(auditsink: Call, tmp_path: Path) -> None:
    said = auditsink(
        "check", "-c", written(tmp_path, "spool: {max_bytes: 500TiB}\ndestinations: [{name: out, type: stdout}]")
    )
    assert said.code == 0
    assert "Risks\n  receive.listen: anybody who reaches the port" in said.out
    assert "  spool.max_bytes: 500 TiB is more than the " in said.out


def test_a_secret_that_everybody_may_read_is_a_risk(auditsink: Call, tmp_path: Path) -> None:
    keys = tmp_path / "spool.keys"
    keys.write_text(f"2026-11 {'A' * 43}=\n")
    text = f"{LOCAL}spool: {{path: {tmp_path}, max_bytes: 128MiB, encryption: {{key_file: {keys}}}}}\n"
    path = written(tmp_path, text + "destinations: [{name: out, type: stdout}]")
    risk = (
        f"spool.encryption.key_file: {keys} may be read or changed by everybody on this machine (mode 0644); chmod o="
    )
    for mode, told in ((0o644, True), (0o640, False), (0o400, False)):
        keys.chmod(mode)
        said = auditsink("check", "-c", path)
        assert (said.code, risk in said.out) == (0, told)


def test_a_key_file_that_is_none_is_an_error(auditsink: Call, tmp_path: Path) -> None:
    keys = tmp_path / "spool.keys"
    keys.write_text("2026-11 not-a-key\n")
    text = f"{LOCAL}spool: {{path: {tmp_path}, encryption: {{key_file: {keys}}}}}\n"
    text += "destinations: [{name: out, type: stdout}]"
    said = auditsink("check", "-c", written(tmp_path, text))
    assert said.code == 1
    assert said.err.startswith(f"auditsink: spool.encryption.key_file: {keys}: line 1 is no key")
    assert "not-a-key" not in said.err


def test_a_missing_file_is_an_error(auditsink: Call, tmp_path: Path) -> None:
    text = "destinations: [{name: a, type: splunk, url: 'https://h', token_file: /nowhere/token}]"
    said = auditsink("check", "-c", written(tmp_path, text))
    assert said.code == 1
    assert said.err == (
        "auditsink: destinations[0].token_file: /nowhere/token: No such file or directory; "
        "check the path and its permissions\n"
    )


def test_connect_asks_every_destination(auditsink: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PROBE_SECONDS", 60)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        text = f"""
            destinations:
              - {{name: disk, type: file, path: {tmp_path}/audit.ndjson}}
              - {{name: away, type: http, url: "http://127.0.0.1:{unused.getsockname()[1]}"}}
              - {{name: bad, type: file, path: {tmp_path}}}
            """
        said = auditsink("check", "--connect", "-c", written(tmp_path, text))
    assert said.code == 1
    assert said.out.endswith(
        "Destinations\n  disk: takes events\n"
        "It can run, but 2 destinations take nothing now: events would wait in the spool.\n"
    )
    away, bad = said.err.splitlines()
    assert away.startswith("auditsink: destinations[1] (away): http://127.0.0.1:")
    assert away.endswith("; it may pass, try again")
    assert bad.startswith("auditsink: destinations[2] (bad): ")


def test_a_destination_that_does_not_answer_is_not_waited_for(
    auditsink: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "PROBE_SECONDS", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        text = f"destinations: [{{name: mute, type: http, url: 'http://127.0.0.1:{silent.getsockname()[1]}'}}]"
        said = auditsink("check", "--connect", "-c", written(tmp_path, text))
    assert said.code == 1
    assert said.err == ("auditsink: destinations[0] (mute): no answer within 1 s; check the address and the network\n")


def test_asking_local_destinations_makes_nothing(auditsink: Call, tmp_path: Path) -> None:
    destinations = (
        f"[{{name: a, type: file, path: {tmp_path}/new/a}}, {{name: o, type: local, path: {tmp_path}/objects}}, "
        f"{{name: d, type: file, path: {tmp_path}}}]"
    )
    path = written(tmp_path, f"{LOCAL}spool: {{path: {tmp_path}/s}}\ndestinations: {destinations}")
    said = auditsink("check", "-c", path, "--connect")
    assert said.code == 1
    assert "  a: takes events\n  o: takes events\n" in said.out
    assert f"destinations[2] (d): {tmp_path}: is a directory; name another path" in said.err
    assert said.out.splitlines()[-1] == (
        "It can run, but 1 destination takes nothing now: events would wait in the spool."
    )
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]


def test_a_pipe_or_a_device_is_no_file_to_deliver_to(auditsink: Call, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    destinations = f"[{{name: p, type: file, path: {tmp_path}/pipe}}, {{name: v, type: file, path: /dev/full}}]"
    path = written(tmp_path, f"{LOCAL}spool: {{path: {tmp_path}/s}}\ndestinations: {destinations}")
    said = auditsink("check", "-c", path, "--connect")
    assert said.code == 1
    assert said.err.splitlines() == [
        f"auditsink: destinations[0] (p): {tmp_path}/pipe: is no regular file; name another path",
        "auditsink: destinations[1] (v): /dev/full: is no regular file; name another path",
    ]


def test_a_port_that_is_taken_is_told_and_the_file_may_come_from_the_environment(
    auditsink: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = written(tmp_path, f"receive: {{listen: '127.0.0.1:{port}'}}\ndestinations: [{{name: o, type: stdout}}]")
        monkeypatch.setenv("AUDITSINK_CONFIG", str(path))
        said = auditsink("check")
    assert said.code == 0
    assert f"receive.listen 127.0.0.1:{port}: Address already in use" in said.out
    assert said.out.splitlines()[-1].startswith("It can run; ")
