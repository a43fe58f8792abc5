"""`auditsink gardener`: what it says before it talks to any API."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from auditsink.cli.gardener import command


@pytest.mark.parametrize("words", [["--help"], ["extension", "--help"], ["admission", "--help"]])
def test_each_has_help_with_an_example(words: list[str]) -> None:
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0
    assert words == ["--help"] or "Example:" in result.output


@pytest.mark.parametrize("which", ["extension", "admission"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind: [", "is no YAML"),
        ("- a\n", "must be a mapping"),
        ("workers: many\n", "workers"),
        ("nonsense: 1\n", "nonsense"),
    ],
)
def test_a_broken_configuration_is_one_line(
    which: str, text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    (tmp_path / "kubeconfig").write_text(
        "{clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {token: t}}], "
        "contexts: [{name: c, context: {cluster: c, user: u}}], current-context: c}"
    )
    (tmp_path / "config.yaml").write_text(text)
    result = CliRunner().invoke(command, [which, "-c", str(tmp_path / "config.yaml")])
    assert result.exit_code == 1
    assert why in result.output
    assert len(result.output.splitlines()) == 1


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["extension", "-c", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert "none.yaml: No such file or directory; check the path" in result.output
