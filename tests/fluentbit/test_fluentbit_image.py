"""The Dockerfile's two images: the ordinary one, and the one for a pod that names no user."""

import re
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def stages() -> dict[str, list[str]]:
    """The lines of each stage by its name ("" for the last, which is what is built without `--target`)."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in DOCKERFILE.read_text().splitlines():
        if match := re.match(r"FROM \S+(?: AS (\S+))?", line):
            name = match[1] or ""
            found[name] = [line]
        elif name in found:
            found[name].append(line)
    return found


def test_what_is_built_without_a_target_runs_as_nobody() -> None:
    found = stages()

    assert list(found)[-1] == ""
    assert found[""][0] == "FROM sink"
    assert [line for line in found[""] + found["sink"] if line.startswith("USER")] == ["USER 10001:10001"]


def test_in_fluent_bits_place_it_starts_as_root_with_the_same_entry_point() -> None:
    found = stages()

    assert found["fluentbit"][0] == "FROM sink AS fluentbit"
    assert "USER 0:0" in found["fluentbit"]
    assert not [line for line in found["fluentbit"] if line.startswith(("ENTRYPOINT", "CMD", "RUN", "COPY"))]
    assert 'ENTRYPOINT ["auditsink"]' in found["sink"]
