"""Whose the spool's bytes are, in a document."""

from dataclasses import replace

from moments import PROD, SPOOL, TEST, moment

from auditsink.observe import reservations
from auditsink.spool.statistics import REST

MIB = 2**20


def test_each_cluster_says_what_is_reserved_used_and_shared() -> None:
    prod = replace(PROD, bytes=3 * MIB, reserved_bytes=2 * MIB, room_bytes=5 * MIB)
    test = replace(TEST, bytes=MIB, room_bytes=0)
    spool = replace(SPOOL, max_bytes=10 * MIB, rings=(test, prod))
    found = reservations.document(moment(spool=spool, declared={"prod": 2 * MIB, "test": 0, "new": MIB}))
    assert (found["reserved_bytes"], found["shared_bytes"], found["max_bytes"]) == (3 * MIB, 7 * MIB, 10 * MIB)
    by_name = {one.pop("cluster"): one for one in found["clusters"]}
    assert list(by_name) == ["new", "prod", "test"]
    assert by_name["prod"] == {
        "reserved_bytes": 2 * MIB, "used_bytes": 3 * MIB, "shared_bytes": MIB, "room_bytes": 5 * MIB,
        "oldest_seconds": 12.346, "state": "shared",
    }  # fmt: skip
    assert by_name["test"]["state"] == "full"
    assert (by_name["new"]["room_bytes"], by_name["new"]["state"]) == (None, "ok")


def test_a_cluster_that_is_declared_no_longer_is_told() -> None:
    found = reservations.document(moment(declared={"prod": 0}))
    assert {one["cluster"]: one["state"] for one in found["clusters"]}["test"] == "removed"


def test_what_a_topic_holds_of_nobody_in_particular_is_not_removed() -> None:
    rest = replace(TEST, cluster=REST, bytes=MIB, room_bytes=MIB)
    spool = replace(SPOOL, max_bytes=10 * MIB, rings=(PROD, rest))
    found = reservations.document(moment(spool=spool, declared={"prod": MIB}))
    assert {one["cluster"]: one["state"] for one in found["clusters"]} == {REST: "shared", "prod": "ok"}


def test_where_nothing_is_declared_nothing_is_removed() -> None:
    assert "removed" not in {one["state"] for one in reservations.document(moment())["clusters"]}
