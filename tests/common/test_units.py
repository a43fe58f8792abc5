"""Sizes and durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.common.units import Duration, Size


@pytest.mark.parametrize(
    ("written", "count"),
    [
        (0, 0),
        (1024, 1024),
        ("7", 7),
        ("64MiB", 64 * 2**20),
        ("64Mi", 64 * 2**20),
        (" 16 MB ", 16_000_000),
        ("1.5KiB", 1536),
        ("0.1GB", 100_000_000),
        ("2T", 2 * 10**12),
        ("9007199254740993", 9007199254740993),  # one more than a float can tell apart
    ],
)
def test_sizes(written: object, count: int) -> None:
    assert Size.parse(written) == count


@pytest.mark.parametrize(
    "written", ["", "MiB", "-1", -1, 1.5, True, None, "1 XiB", "64mib", "1" * 400, "٣MiB", "1e3", ["1"]]
)
def test_what_is_no_size_is_shown_an_example(written: object) -> None:
    with pytest.raises(ValueError, match="like 64MiB"):
        Size.parse(written)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (64 * 2**20, "64 MiB"), (2**40, "1 TiB")],
)
def test_sizes_are_shown_in_the_largest_unit(count: int, text: str) -> None:
    assert str(Size(count)) == text


@given(st.integers(0, 2**50), st.sampled_from(["", "B", "K", "Ki", "KB", "KiB", "MB", "MiB", "G", "Gi"]))
def test_whole_numbers_of_a_unit_are_exact(count: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    power = {"": 0, "K": 1, "M": 2, "G": 3}[unit.strip("iB")]
    assert Size.parse(f"{count}{unit}") == count * base**power


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(30, 30.0), (0.5, 0.5), ("30s", 30.0), ("1.5m", 90.0), ("250ms", 0.25), ("2h", 7200.0), (" 1 d ", 86400.0)],
)
def test_durations(written: object, seconds: float) -> None:
    assert Duration.parse(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "30", "s", "-1s", -1, True, None, "1w", float("inf"), float("nan"), "9" * 400 + "s"]
)
def test_what_is_no_duration_is_shown_an_example(written: object) -> None:
    with pytest.raises(ValueError, match="like 30s or 5m"):
        Duration.parse(written)


def test_durations_are_shown_in_seconds() -> None:
    assert str(Duration.parse("1.5m")) == "90s"
    assert str(Duration.parse("250ms")) == "0.25s"
