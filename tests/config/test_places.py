"""Places that a configuration writes to: two that are one, the spool's own, and volumes that are too small."""

from pathlib import Path

import pytest

from auditsink import load
from auditsink.config import Config
from auditsink.load.places import collisions, cramped

PLENTY = 2**50


def parsed(place: Path, destinations: str, more: str = "") -> Config:
    text = f"{{spool: {{path: {place}/spool, max_bytes: 1GiB}}, destinations: [{destinations}]{more}}}"
    return load.parse(text.encode(), "f", {})


def file(name: str, path: object, more: str = "") -> str:
    return f"{{name: {name}, type: file, path: {path}{more}}}"


def bucket(name: str, more: str = "") -> str:
    return f"{{name: {name}, type: s3, bucket: trail, region: r{more}}}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    return tmp_path


COLLISIONS = {
    "another's older file": (("{0}/here/a", ""), ("{0}/here/a.2", ""), "destinations[1].path: is the file of"),
    "the other way round": (("{0}/here/a.4", ""), ("{0}/here/a", ""), "destinations[0].path: is the file of"),
    "through a link": (("{0}/here/a", ""), ("{0}/link/a.1", ""), "destinations[1].path"),
    "the same through a link": (("{0}/here/a", ""), ("{0}/link/a", ""), "destinations[1].path"),
    "with dots": (("{0}/here/a", ""), ("{0}/here/../here/a", ""), "destinations[1].path"),
    "older than are kept": (("{0}/here/a", ", keep: 2"), ("{0}/here/a.3", ""), None),
    "a name that only looks like it": (("{0}/here/a", ""), ("{0}/here/a.01", ""), None),
    "another directory": (("{0}/here/a", ""), ("{0}/there/a.1", ""), None),
    "in the rings": (("{0}/spool/rings/a", ""), ("{0}/b", ""), "destinations[0].path: lies in the spool's own rings"),
    "in the dead letters": (("{0}/b", ""), ("{0}/spool/deadletters/a/b", ""), "destinations[1].path: lies in the"),
    "beside the rings": (("{0}/spool/a", ""), ("{0}/b", ""), None),
}


@pytest.mark.parametrize("name", COLLISIONS)
def test_two_files_that_get_in_each_others_way_are_refused(place: Path, name: str) -> None:
    *several, expected = COLLISIONS[name]
    config = parsed(place, ", ".join(file(f"f{n}", path.format(place), more) for n, (path, more) in enumerate(several)))
    found = collisions(config)
    assert bool(found) == (expected is not None)
    if expected is not None:
        assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("path", "more", "refused"),
    [
        ("{0}/spool", "", True),
        ("{0}/spool/copy", "", True),
        ("{0}", ", prefix: spool", True),  # the directory is another one, and what is written is not
        ("{0}", ", prefix: spool-copy", False),
        ("{0}/there", "", False),
    ],
)
def test_a_copy_that_would_lie_in_the_spool_is_refused(place: Path, path: str, more: str, *, refused: bool) -> None:
    backup = f"{{type: local, path: {path.format(place)}{more}}}"
    text = f"{{spool: {{path: {place}/spool, backup: {backup}}}, destinations: [{file('f', place / 'here' / 'a')}]}}"
    found = collisions(load.parse(text.encode(), "f", {}))
    assert [one.startswith("spool.backup.path: lies in the spool") for one in found] == [True] * refused


def test_the_checkpoints_and_every_named_file_are_no_destinations(place: Path) -> None:
    evidence = f", evidence: {{path: {place}/here/a.1}}"
    (found,) = collisions(parsed(place, file("f", place / "here" / "a"), evidence))
    assert found.startswith("evidence.path: is the file of destinations[0].path")
    (place / "token").write_text("x" * 40)
    (found,) = collisions(parsed(place, file("f", place / "token"), f", admin: {{token_file: {place}/token}}"))
    assert found.startswith("destinations[0].path: is the file of admin.token_file")


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ("", "", True),
        (", prefix: 'a/{cluster}'", ", prefix: 'b/{cluster}'", False),
        ("", ", compression: gzip", False),
        ("", ", endpoint: 'https://elsewhere'", False),
    ],
)
def test_objects_that_would_replace_each_other_are_refused(place: Path, first: str, second: str, collide: bool) -> None:
    found = collisions(parsed(place, f"{bucket('a', first)}, {bucket('b', second)}"))
    assert bool(found) == collide


def test_directories_of_objects_are_compared_by_where_they_are(place: Path) -> None:
    local = "{{name: {0}, type: local, path: {1}}}"
    found = collisions(parsed(place, f"{local.format('a', place / 'here')}, {local.format('b', place / 'link')}"))
    assert len(found) == 1
    assert collisions(parsed(place, f"{local.format('a', place / 'here')}, {local.format('b', place / 'b')}")) == []


def test_a_ring_that_is_larger_than_its_volume_is_told(place: Path) -> None:
    config = parsed(place, "{name: out, type: stdout}")
    (found,) = cramped(config, lambda _: 2**29)
    assert found.startswith("spool.max_bytes: 1 GiB is more than the whole volume")
    assert cramped(config, lambda _: PLENTY) == []


def test_what_fits_alone_and_not_together_is_told(place: Path) -> None:
    config = parsed(place, file("f", place / "a", ", rotate_bytes: 100MiB, keep: 4"))
    (found,) = cramped(config, lambda _: 2**30 + 500 * 2**20)
    assert "destinations[0].dead_letter_bytes, destinations[0].rotate_bytes" in found
    assert cramped(config, lambda _: 2**30 + 600 * 2**20) == []


def test_a_destination_in_the_spools_directory_is_told(place: Path) -> None:
    for one in (file("f", place / "spool" / "a"), f"{{name: l, type: local, path: {place}/spool/objects}}"):
        (found,) = cramped(parsed(place, one), lambda _: PLENTY)
        assert found.startswith("destinations[0].path: lies in the spool's directory")


def test_the_real_volume_is_asked(place: Path) -> None:
    text = f"{{spool: {{path: {place}/a/b, max_bytes: 900000GiB}}, destinations: [{{name: o, type: stdout}}]}}"
    assert cramped(load.parse(text.encode(), "f", {}))
