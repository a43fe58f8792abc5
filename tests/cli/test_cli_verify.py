"""`auditsink verify` on what a real sink's parts left: a spool, its export, a file destination's output."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import corpus
import pytest
import zstandard
from calling import Call
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditsink.audit import eventlist
from auditsink.common.disk import RealDisk
from auditsink.common.units import Size
from auditsink.config import Spool as SpoolConfig
from auditsink.evidence.keys import Signer
from auditsink.evidence.make.checkpoint_file import CheckpointFile
from auditsink.evidence.make.checkpointer import Checkpointer
from auditsink.spool import Spool
from auditsink.spool.identity import FILE, Identity, peek
from auditsink.spool.offline import inspect
from auditsink.spool.slots import SlotFile

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PEM, PKCS8, PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


class Place:
    """Where everything lies: `spool`, `checkpoints.ndjson`, `public.pem`, `audit.ndjson`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool = path / "spool"
        self.checkpoints = path / "checkpoints.ndjson"
        self.public = path / "public.pem"
        self.file = path / "audit.ndjson"
        self.lines: list[bytes] = []

    def live(self, *bodies: bytes, cluster: str = "blue", key: Ed25519PrivateKey = KEY) -> None:
        """One life of a sink that takes these batches and is stopped in order."""
        asyncio.run(self._live(bodies, cluster, Signer.parse(key.private_bytes(PEM, PKCS8, PLAIN))))
        self.public.write_bytes(KEY.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        several = [
            one
            for record in inspect.records(self.spool, cluster)
            for one in eventlist.ndjson(record.events, record.marks)
        ]
        self.lines = [*self.lines, *several[-sum(len(eventlist.split(body).events) for body in bodies) :]]
        self.write(self.lines)

    async def _live(self, bodies: tuple[bytes, ...], cluster: str, signer: Signer) -> None:
        config = SpoolConfig(path=self.spool, max_bytes=Size(2**26), segment_bytes=Size(2**16))
        spool = Spool.open(config)
        spool.start(asyncio.get_running_loop().call_soon_threadsafe)
        checkpointer = Checkpointer(spool, CheckpointFile(self.checkpoints, RealDisk()), lambda: signer, every=60.0)
        running = asyncio.create_task(checkpointer.run())
        await asyncio.sleep(0)
        for body in bodies:
            answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            spool.submit(spool.ring(cluster), body, eventlist.split(body), "", answer.set_result)
            await answer
        await checkpointer.stop(30.0)
        await running
        await asyncio.to_thread(spool.stop)

    def write(self, lines: list[bytes]) -> None:
        self.file.write_bytes(b"".join(line + b"\n" for line in lines))

    @property
    def given(self) -> list[object]:
        """The options that name checkpoints and key."""
        return ["verify", "--checkpoints", self.checkpoints, "--public-key", self.public]


@pytest.fixture(scope="module")
def recorded() -> list[bytes]:
    return [body.data for body in corpus.bodies("batch50-request-h2tls", "hostile-patches")]


@pytest.fixture
def place(tmp_path: Path, recorded: list[bytes]) -> Place:
    """What two lives of a sink left, with recorded batches in several segments."""
    made = Place(tmp_path)
    made.live(*recorded[:30])
    made.live(*recorded[30:])
    return made


def test_all_that_a_sink_left_is_proven(place: Place, auditsink: Call) -> None:
    """The spool, an export of it and the file: 788 events, each exactly as stated."""
    assert auditsink("spool", "export", "--path", place.spool, "--to", place.path / "out").code == 0
    for what in (["--spool", place.spool], ["--export", place.path / "out"], ["--file", place.file]):
        said = auditsink(*place.given, *what)
        assert (said.code, said.err) == (0, ""), what
        assert "signatures and chain checked" in said.out
        assert "proven:       788 events" in said.out
        assert "not covered" not in said.out


def test_a_restored_spool_is_the_same_evidence(place: Place, auditsink: Call) -> None:
    assert auditsink("spool", "export", "--path", place.spool, "--to", place.path / "out").code == 0
    assert auditsink("spool", "import", "--path", place.path / "again", place.path / "out").code == 0
    said = auditsink(*place.given, "--spool", place.path / "again")
    assert (said.code, said.err) == (0, "")
    assert "proven:       788 events" in said.out


@pytest.mark.parametrize("pack", ["plain", "gz", "zst"])
def test_rotated_and_compressed_files_in_any_order(place: Place, auditsink: Call, pack: str) -> None:
    packs: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes,
        "gz": gzip.compress,
        "zst": zstandard.ZstdCompressor().compress,
    }
    ending = "" if pack == "plain" else f".{pack}"
    parts = {
        "audit.ndjson.2": place.lines[:100],
        "audit.ndjson.1": place.lines[100:300],
        "audit.ndjson": place.lines[300:],
    }
    for name, lines in parts.items():
        (place.path / (name + ending)).write_bytes(packs[pack](b"".join(line + b"\n" for line in lines)))
    paths = sorted(place.path / (name + ending) for name in parts)
    said = auditsink(*place.given, "--file", *paths)
    assert (said.code, said.err) == (0, "")
    assert "proven:       788 events" in said.out


def test_a_removed_line_is_named(place: Place, auditsink: Call) -> None:
    place.write(place.lines[:200] + place.lines[201:])
    said = auditsink(*place.given, "--file", place.file)
    assert said.code == 1
    assert "MISMATCH: cluster blue: missing: event 200 (checkpoint " in said.err
    assert said.err.endswith("auditsink: 1 mismatch, named above\n")


def test_a_changed_line_is_named(place: Place, auditsink: Call) -> None:
    place.write([*place.lines[:200], place.lines[200].replace(b'"verb":"', b'"verb":"un'), *place.lines[201:]])
    said = auditsink(*place.given, "--file", place.file)
    assert said.code == 1
    assert "MISMATCH: cluster blue: changed: event 200 (checkpoint " in said.err
    assert f"note: {place.file}:201 stands in the place of event 200 of cluster blue" in said.out


def test_repeats_are_allowed_and_counted(place: Place, auditsink: Call) -> None:
    place.write(place.lines[:300] + place.lines[250:])
    said = auditsink(*place.given, "--file", place.file)
    assert (said.code, said.err) == (0, "")
    assert "repeats:      50 lines" in said.out


def test_what_was_accepted_since_the_last_checkpoint_is_not_covered(place: Place, auditsink: Call) -> None:
    place.checkpoints.write_bytes(b"".join(place.checkpoints.read_bytes().splitlines(keepends=True)[:-1]))
    for what in (["--spool", place.spool], ["--file", place.file]):
        said = auditsink(*place.given, *what)
        assert (said.code, said.err) == (0, "")
        assert "not covered:  " in said.out
        assert "proven:       788" not in said.out


def test_a_checkpoint_that_was_changed_or_taken_out_is_found(place: Place, auditsink: Call) -> None:
    lines = place.checkpoints.read_bytes().splitlines(keepends=True)
    assert len(lines) >= 3
    place.checkpoints.write_bytes(b"".join([*lines[:1], *lines[2:]]))
    said = auditsink(*place.given, "--spool", place.spool)
    assert said.code == 1
    assert "the chain is broken" in said.err
    place.checkpoints.write_bytes(b"".join([*lines[:1], lines[1].replace(b'"count"', b'"Count"'), *lines[2:]]))
    assert "is no checkpoint" in auditsink(*place.given, "--spool", place.spool).err
    place.checkpoints.write_bytes(b"".join([*lines[:1], lines[1].replace(b'"time":"20', b'"time":"19'), *lines[2:]]))
    said = auditsink(*place.given, "--spool", place.spool)
    assert "the signature is wrong" in said.err


def test_a_damaged_spool_is_found(place: Place, auditsink: Call) -> None:
    path = sorted((place.spool / "rings" / "blue").glob("*.seg"))[1]
    content = bytearray(path.read_bytes())
    content[6000] ^= 1
    path.write_bytes(content)
    said = auditsink(*place.given, "--spool", place.spool)
    assert said.code == 1
    assert "MISMATCH: cluster blue: missing: event" in said.err


def test_a_removed_segment_is_found_and_a_dropped_one_is_none(place: Place, auditsink: Call) -> None:
    first, *_others, last = sorted((place.spool / "rings" / "blue").glob("*.seg"))
    kept = last.read_bytes()
    last.unlink()
    assert "missing: events " in auditsink(*place.given, "--spool", place.spool).err
    last.write_bytes(kept)
    first.unlink()
    assert "missing: events 0 to " in auditsink(*place.given, "--spool", place.spool).err


def test_what_the_ring_dropped_is_told_and_no_mismatch(tmp_path: Path, auditsink: Call, recorded: list[bytes]) -> None:
    place = Place(tmp_path)
    place.live(*recorded)

    ring = place.spool / "rings" / "blue"
    first, second, *_ = sorted(ring.glob("*.seg"))
    who = peek(ring, RealDisk())
    assert who is not None
    meta = SlotFile.open(RealDisk(), ring / FILE)
    meta.write(Identity(who.ring_id, int(second.stem)).encode())
    meta.close()
    first.unlink()
    said = auditsink(*place.given, "--spool", place.spool)
    assert (said.code, said.err) == (0, "")
    assert f"not here:     {int(second.stem):,} events were stated" in said.out


def test_a_ring_that_was_made_anew_is_told(place: Place, auditsink: Call, recorded: list[bytes]) -> None:
    (place.spool / "rings").rename(place.path / "old")
    place.live(*recorded[:3])
    said = auditsink(*place.given, "--spool", place.spool)
    assert said.code == 1
    assert "missing: 788 events of the ring " in said.err


def test_an_export_claims_what_lies_between_its_ends(place: Place, auditsink: Call) -> None:
    out = place.path / "out"
    auditsink("spool", "export", "--path", place.spool, "--to", out)
    manifest = (out / "manifest.json").read_bytes()

    document = json.loads(manifest)
    segments = document["rings"][0]["segments"]
    document["rings"][0]["segments"] = segments[1:-1]
    (out / "manifest.json").write_text(json.dumps(document))
    said = auditsink(*place.given, "--export", out)
    assert (said.code, said.err) == (0, "")
    assert "not here:     " in said.out
    document["rings"][0]["segments"] = [segments[0], segments[2]]
    (out / "manifest.json").write_text(json.dumps(document))
    assert "missing: events " in auditsink(*place.given, "--export", out).err


def test_another_key_is_no_proof(place: Place, auditsink: Call) -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    place.public.write_bytes(other.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    said = auditsink(*place.given, "--spool", place.spool)
    assert said.code == 1
    assert "which is not among those given by --public-key" in said.err


def test_without_a_key_it_says_what_is_not_proven(place: Place, auditsink: Call) -> None:
    said = auditsink("verify", "--checkpoints", place.checkpoints, "--spool", place.spool)
    assert said.code == 0
    assert "note: signatures were not checked (give --public-key)" in said.out
    assert "chain checked" in said.out


def test_the_lines_of_a_log_do_for_a_spool_and_not_for_a_file(place: Place, auditsink: Call) -> None:

    log = place.path / "sink.log"
    entries = [json.loads(line) for line in place.checkpoints.read_bytes().splitlines()]
    with log.open("w") as stream:
        stream.write('{"time":"x","message":"ready"}\n')
        for entry in entries:
            del entry["fingerprints"]
            stream.write(json.dumps({"level": "info", "message": "checkpoint", **entry}) + "\n")
    place.checkpoints = log
    said = auditsink(*place.given, "--spool", place.spool)
    assert (said.code, said.err) == (0, "")
    assert "1 lines are no checkpoints" in said.out
    assert "has no fingerprints" in auditsink(*place.given, "--file", place.file).err


@pytest.fixture
def mistakes(place: Place) -> dict[str, tuple[list[object], str]]:
    checkpoints: list[object] = ["--checkpoints", place.checkpoints]
    empty = place.path / "empty"
    empty.write_bytes(b"")
    return {
        "nothing to verify": (checkpoints, "Give one of --spool, --export and --file"),
        "two things": ([*checkpoints, "--spool", "x", "--file", "y"], "Give one of"),
        "files without --file": ([*checkpoints, "--spool", "x", "y"], "Give one of"),
        "no checkpoints": (["--checkpoints", "/nonexistent", "--spool", "x"], "/nonexistent: No such file"),
        "an empty file": (["--checkpoints", empty, "--spool", place.spool], "holds no checkpoint"),
        "no spool": ([*checkpoints, "--spool", "/nonexistent"], "/nonexistent is no spool"),
        "no export": ([*checkpoints, "--export", place.spool], "is no export"),
        "no file": ([*checkpoints, "--file", "/nonexistent"], "/nonexistent"),
        "no key": ([*checkpoints, "--public-key", place.file, "--spool", "x"], "is no Ed25519 public key in PEM"),
        "a key that is not there": ([*checkpoints, "--public-key", "/nonexistent", "--spool", "x"], "/nonexistent: No"),
        "another cluster": ([*checkpoints, "--spool", place.spool, "--cluster", "red"], "there are: blue"),
        "no time": ([*checkpoints, "--spool", "x", "--since", "yesterday"], "is no time; write a time like"),
        "nothing proven": ([*checkpoints, "--file", empty, "--until", "400d"], "nothing was proven"),
    }


def test_mistakes_are_told_with_what_to_do(mistakes: dict[str, tuple[list[object], str]], auditsink: Call) -> None:
    for name, (arguments, told) in mistakes.items():
        said = auditsink("verify", *arguments)
        assert said.code in {1, 2}, name
        assert told in said.err, (name, said.err)


def test_nothing_is_imported_for_signatures_before_they_are_asked_for(place: Place) -> None:

    script = (
        "import sys; from auditsink.cli import run;"
        f"code = run(['verify', '--checkpoints', {str(place.checkpoints)!r}, '--spool', {str(place.spool)!r}]);"
        "sys.exit(code or 'cryptography' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, env=os.environ).returncode == 0
    )
