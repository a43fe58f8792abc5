"""How many files may be open, and who gets how many of them."""

import resource

import pytest

from auditsink.common import descriptors
from auditsink.common.descriptors import ENDLESS, FEWEST, OTHERS, for_admin, left_for_connections


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    found = {"soft": 1024, "hard": 2048}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (found["soft"], found["hard"]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: found.update(soft=both[0]))
    return found


def test_the_limit_is_raised_as_far_as_it_may(limits: dict[str, int]) -> None:
    assert descriptors.raise_limit() == (1024, 2048)
    assert limits["soft"] == 2048
    assert descriptors.limit() == 2048
    assert descriptors.raise_limit() == (2048, 2048)


def test_no_limit_is_a_large_one(limits: dict[str, int]) -> None:
    limits["hard"] = resource.RLIM_INFINITY
    assert descriptors.raise_limit() == (1024, ENDLESS)


@pytest.mark.parametrize("most", [64, 100, 200, 1024, 4096, 65536])
def test_all_together_stay_below_the_limit(most: int) -> None:
    connections = left_for_connections(0, most)
    assert connections >= FEWEST
    admin = for_admin(200, most)
    assert connections + admin + min(admin, 56) <= most - 16
    assert for_admin(4, most) == 4


def test_rings_have_theirs_first() -> None:
    assert left_for_connections(100, 4096) == 4096 - 600 - OTHERS
    assert left_for_connections(1000, 1024) == FEWEST
