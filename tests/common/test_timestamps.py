"""Times as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditsink.common import timestamps

NOW = 1_795_382_018_661_308_000


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-22T21:13:38Z", datetime(2026, 11, 22, 21, 13, 38, tzinfo=UTC)),
        ("2026-11-22t21:13:38.661308z", datetime(2026, 11, 22, 21, 13, 38, 661308, tzinfo=UTC)),
        ("2026-11-22T21:13:38+02:00", datetime(2026, 11, 22, 19, 13, 38, tzinfo=UTC)),
        (" 2026-11-22 21:13 ", datetime(2026, 11, 22, 21, 13, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2h", timestamps.at(NOW) - timedelta(hours=2)),
        ("1.5d", timestamps.at(NOW) - timedelta(hours=36)),
    ],
)
def test_a_time_is_understood(written: str, expected: datetime) -> None:
    assert timestamps.at(timestamps.parse(written, NOW)) == expected


@pytest.mark.parametrize(
    "written",
    ["", "yesterday", "2026-13-01", "2026-11-22T25:00Z", "2026-11-22T21:13:38ZZ", "-2h", "٣h", "2026-11-22T21:00+99"],
)
def test_what_is_no_time_is_told_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match=r"is no time.*write a time like 2026-11-22T21:00:00Z"):
        timestamps.parse(written, NOW)


@given(st.integers(0, 4 * 10**18))
def test_nanoseconds_come_back_to_the_microsecond(ns: int) -> None:
    assert abs(timestamps.nanoseconds(timestamps.at(ns)) - ns) <= 1000


def test_the_text_for_people_is_utc() -> None:
    assert timestamps.text(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00Z"
