"""Clusters that come, change and go as files do, while the sink runs."""

import os
import shutil
from pathlib import Path

import pytest

from auditsink import load
from auditsink.clusters import retained
from auditsink.clusters.cluster_set import ClusterSet
from auditsink.clusters.registry import MOST_CLAIMED, MOST_CLUSTERS, ClustersError, Registry, most_clusters
from auditsink.clusters.tokens import digest
from auditsink.config import Config

DISK = "destinations: [{name: disk, type: file, path: /x}, {name: out, type: stdout}]"
SPOOL = "spool: {path: %s/spool, max_bytes: 100MiB, segment_bytes: 10MiB}"


def configured(place: Path, clusters: str) -> Config:
    return load.parse(f"{DISK}\n{SPOOL % place}\n{clusters}".encode(), "f", {})


def watching(place: Path, **files: str) -> Registry:
    directory = place / "clusters.d"
    directory.mkdir()
    for name, text in files.items():
        drop(place, name, text)
    return Registry(configured(place, f"clusters: {{directory: {directory}}}"))


def drop(place: Path, name: str, text: str) -> Path:
    """As a controller does it: whole, by a rename."""
    target = place / "clusters.d" / f"{name}.yaml"
    draft = place / "draft"
    draft.write_text(text)
    draft.rename(target)
    return target


def names(registry: Registry) -> set[str]:
    return set(registry.cluster_set.clusters)


def test_a_plain_list_declares_members(tmp_path: Path) -> None:
    registry = Registry(configured(tmp_path, "clusters: [{name: a, tokens: [t]}, {name: b, anonymous: true}]"))
    assert names(registry) == {"a", "b"}
    assert registry.cluster_set.tokens == {digest(b"t"): "a"}
    assert registry.cluster_set.closed
    assert registry.cluster_set.anonymous("b")
    assert not registry.cluster_set.anonymous("a")


@pytest.mark.parametrize(
    ("clusters", "why"),
    [
        ("[{name: a, tokens: [t]}, {name: a, tokens: [u]}]", r"clusters\[1\] \(a\): name: another cluster"),
        ("[{name: a, tokens: [t]}, {name: b, tokens: [t]}]", r"clusters\[1\] \(b\): tokens: one is a token of"),
        (
            "[{name: a, anonymous: true, reservation: 60MiB}, {name: b, anonymous: true, reservation: 31MiB}]",
            r"clusters\[1\] \(b\): reservation: 95,420,416 bytes would be reserved, of 94,371,840 that can be",
        ),
        ("[{name: a, token_file: /nowhere/t}]", r"clusters\[0\] \(a\): token_file: /nowhere/t: is not there"),
        ("{directory: /nowhere/d}", "clusters.directory /nowhere/d: is no directory"),
    ],
)
def test_what_cannot_be_in_the_configuration_itself_is_refused_at_the_start(
    tmp_path: Path, clusters: str, why: str
) -> None:
    with pytest.raises(ClustersError, match=why):
        Registry(configured(tmp_path, f"clusters: {clusters}"))


def test_a_file_that_is_dropped_is_in_force_at_the_next_look_and_one_that_is_removed_no_more(tmp_path: Path) -> None:
    registry = watching(tmp_path, a="{name: a, tokens: [t]}")
    published: list[ClusterSet] = []
    registry._on_change = published.append
    assert not registry.poll()
    drop(tmp_path, "b", "{name: b, tokens: [u], reservation: 5MiB}")
    assert registry.poll()
    assert names(registry) == {"a", "b"}
    assert published[-1].reserved == {"b": 5 * 2**20}
    (tmp_path / "clusters.d" / "a.yaml").unlink()
    assert registry.poll()
    assert names(registry) == {"b"}
    assert registry.cluster_set.tokens == {digest(b"u"): "b"}
    assert not registry.poll()
    assert registry.problems == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{name: b, tokens: [u]", "1:22"),
        ("{name: ../x, tokens: [u]}", "name: a cluster's name is"),
        ("{name: B, tokens: [u]}", "name: a cluster's name is"),
        ("{name: b\u00fc, tokens: [u]}", "name: a cluster's name is"),
        (f"{{name: {'b' * 300}, tokens: [u]}}", "name: a cluster's name is"),
        ("{name: b}", "token_file: is missing"),
        ("{name: b, anonymous: true, tokens: [CANARY]}", "anonymous: contradicts"),
        ("{name: b, token: CANARY}", "token: unknown key"),
        ("[{name: b, anonymous: true}]", "top level: expected a mapping"),
        ("{name: b, anonymous: true, reservation: 91MiB}", "reservation: 95,420,416 bytes would be reserved"),
        ("{name: b, anonymous: true, reservation: 5}", "reservation: must be at least 1MiB"),
        ("{name: b, anonymous: true, destinations: [x]}", "destinations: there is none called 'x'"),
        ("{name: a, tokens: [CANARY]}", "name: another cluster is declared under this name"),
        ("{name: b, tokens: [t]}", "tokens: one is a token of cluster a too"),
        ("{name: b, anonymous: true, labels: {A: x}}", "labels.A: is no name for a label"),
        ("{name: b, anonymous: true, rate: {events_per_second: 0}}", "rate.events_per_second: must be from 1"),
        ("x" * 100_000, "is larger than 65,536 bytes"),
        ("", "name: is missing"),
    ],
)
def test_a_bad_file_is_named_with_the_reason_and_leaves_the_others(tmp_path: Path, text: str, why: str) -> None:
    registry = watching(tmp_path, a="{name: a, tokens: [t]}")
    before = registry.cluster_set
    path = drop(tmp_path, "b", text)
    registry.poll()
    (problem,) = registry.problems
    assert problem.startswith(f"{path}:")
    assert why in problem
    assert "CANARY" not in problem
    assert registry.cluster_set == before
    drop(tmp_path, "b", "{name: b, tokens: [u]}")
    assert registry.poll()
    assert (names(registry), registry.problems) == ({"a", "b"}, ())


def test_a_file_that_is_broken_or_no_longer_fits_keeps_what_it_said(tmp_path: Path) -> None:
    registry = watching(
        tmp_path, a="{name: a, tokens: [t], reservation: 40MiB}", b="{name: b, tokens: [u], reservation: 40MiB}"
    )
    before = registry.cluster_set
    drop(tmp_path, "a", "{name: a, tokens: [t], reservation: 60MiB}")
    drop(tmp_path, "b", "{name: b, tok")
    assert not registry.poll()
    told = len(registry.problems)
    assert registry.cluster_set == before
    drop(tmp_path, "b", "{name: b, tokens: [u], reservation: 20MiB}")
    assert registry.poll()
    assert registry.cluster_set.reserved == {"a": 60 * 2**20, "b": 20 * 2**20}, "now there is room for both"
    assert (told, registry.problems) == (2, ())


def test_a_file_that_moves_takes_its_cluster_along(tmp_path: Path) -> None:
    registry = watching(tmp_path, a="{name: a, tokens: [t]}")
    (tmp_path / "clusters.d" / "a.yaml").rename(tmp_path / "clusters.d" / "z.yaml")
    registry.poll()
    assert (names(registry), registry.problems) == ({"a"}, ())


def test_drafts_and_hidden_files_are_nothing(tmp_path: Path) -> None:
    registry = watching(tmp_path)
    for name in ("a.yaml.tmp", ".a.yaml", "a.txt", "README"):
        (tmp_path / "clusters.d" / name).write_text("{name: a, anonymous: true}")
    registry.poll()
    assert (names(registry), registry.problems) == (set(), ())


def test_a_directory_that_is_gone_changes_nothing_and_is_reported(tmp_path: Path) -> None:
    registry = watching(tmp_path, a="{name: a, tokens: [t]}")
    shutil.rmtree(tmp_path / "clusters.d")
    assert not registry.poll()
    assert names(registry) == {"a"}
    assert "clusters.d: No such file or directory" in registry.problems[0]


def test_a_mounted_config_map_is_swapped_as_a_whole(tmp_path: Path) -> None:
    """Kubernetes: names are links into `..data`, which is a link that is replaced."""
    place = tmp_path / "clusters.d"
    for version, text in (("1", "{name: a, tokens: [t]}"), ("2", "{name: a, tokens: [u]}")):
        (place / f"..{version}").mkdir(parents=True)
        (place / f"..{version}" / "a.yaml").write_text(text)
    (place / "..data").symlink_to("..1")
    (place / "a.yaml").symlink_to("..data/a.yaml")
    registry = Registry(configured(tmp_path, f"clusters: {{directory: {place}}}"))
    assert registry.cluster_set.tokens == {digest(b"t"): "a"}
    (place / "..data_tmp").symlink_to("..2")
    (place / "..data_tmp").rename(place / "..data")
    assert registry.poll()
    assert registry.cluster_set.tokens == {digest(b"u"): "a"}


class TestTokenFiles:
    """What becomes of a cluster's tokens when their file changes."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "a.token"
        path.write_text("first\n")
        return path

    @pytest.fixture
    def registry(self, tmp_path: Path, file: Path) -> Registry:
        return Registry(configured(tmp_path, f"clusters: [{{name: a, token_file: {file}}}]"))

    def test_another_token_is_in_force(self, registry: Registry, file: Path) -> None:
        file.write_text("# changed\nsecond\nthird\n")
        assert registry.poll()
        assert set(registry.cluster_set.tokens) == {digest(b"second"), digest(b"third")}

    @pytest.mark.parametrize("gone", [False, True])
    def test_emptied_or_removed_revokes_at_the_second_look(self, registry: Registry, file: Path, gone: bool) -> None:
        file.unlink() if gone else file.write_text("")
        assert not registry.poll()
        assert registry.cluster_set.tokens, "an editor may be about to write it again"
        assert registry.poll()
        assert not registry.cluster_set.tokens
        assert "so none is valid" in registry.problems[0]
        assert names(registry) == {"a"}, "its reservation and labels stay"
        file.write_text("back\n")
        assert registry.poll()
        assert (set(registry.cluster_set.tokens), registry.problems) == ({digest(b"back")}, ())

    def test_empty_for_a_moment_is_nothing(self, registry: Registry, file: Path) -> None:
        file.write_text("")
        registry.poll()
        file.write_text("first\n")
        registry.poll()
        file.write_text("")
        registry.poll()
        assert set(registry.cluster_set.tokens) == {digest(b"first")}

    @pytest.mark.parametrize("text", ["two words\n", "t\u00f6ken\n", "first\nsec ond\n"])
    def test_nonsense_locks_nobody_out(self, registry: Registry, file: Path, text: str) -> None:
        file.write_text(text)
        assert not registry.poll()
        assert not registry.poll()
        assert set(registry.cluster_set.tokens) == {digest(b"first")}
        assert registry.problems[0].endswith("the last good tokens stay in force")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_a_file_that_may_not_be_read_locks_nobody_out(self, registry: Registry, file: Path) -> None:
        file.write_text("second\n")
        file.chmod(0)
        registry.poll()
        registry.poll()
        assert set(registry.cluster_set.tokens) == {digest(b"first")}


class TestAfterARestart:
    """Events of a cluster that is removed go where they were to go, by another process too."""

    CLUSTER = "{name: a, tokens: [t], destinations: [disk], labels: {stage: prod}}"

    def restarted(self, tmp_path: Path, rings: list[str]) -> Registry:
        registry = Registry(configured(tmp_path, f"clusters: {{directory: {tmp_path}/clusters.d}}"))
        registry.remember(rings)
        return registry

    def test_what_was_declared_is_known(self, tmp_path: Path) -> None:
        (tmp_path / "spool").mkdir()
        registry = watching(tmp_path, a=self.CLUSTER)
        registry.remember([])
        (tmp_path / "clusters.d" / "a.yaml").unlink()
        registry.poll()
        assert "a" not in registry.cluster_set.clusters
        for process in (registry, self.restarted(tmp_path, ["a"]), self.restarted(tmp_path, ["a"])):
            assert process.routing("a") == retained.RetainedCluster(frozenset({"disk"}), {"stage": "prod"})
            assert process.routing("never-seen") == retained.RetainedCluster()
        assert self.restarted(tmp_path, []).routing("a") == retained.RetainedCluster(), "its ring is gone"

    def test_a_declaration_beats_the_memory_of_one(self, tmp_path: Path) -> None:
        (tmp_path / "spool").mkdir()
        watching(tmp_path, a=self.CLUSTER).remember(["a"])
        drop(tmp_path, "a", "{name: a, tokens: [t]}")
        assert self.restarted(tmp_path, ["a"]).routing("a") == retained.RetainedCluster()

    def test_a_memory_that_cannot_be_read_stops_the_start(self, tmp_path: Path) -> None:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool" / retained.NAME).write_text("{")
        with pytest.raises(ClustersError, match=r"clusters.json: .*restore it"):
            watching(tmp_path).remember([])


def test_whoever_cannot_be_told_apart_gets_fewer_rings(tmp_path: Path) -> None:
    assert most_clusters(configured(tmp_path, "")) == MOST_CLAIMED
    assert most_clusters(configured(tmp_path, "receive: {max_clusters: 5}")) == 5
    assert most_clusters(configured(tmp_path, "receive: {tokens_file: t}")) == MOST_CLUSTERS
    assert most_clusters(configured(tmp_path, "clusters: [{name: a, tokens: [t]}]")) == MOST_CLUSTERS
