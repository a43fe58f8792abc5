"""What the charts are drawn from: bounded, peaks kept, clocks that jump."""

from dataclasses import replace

from moments import FILE, SIEM, moment

from auditsink.admin.status_endpoints import COARSE_POINTS, FINE_POINTS, FINE_SECONDS, Samples


def test_it_is_bounded() -> None:
    history = Samples(0.0)
    for number in range(FINE_POINTS * 40):
        history.add(moment(), 1000.0 + number * FINE_SECONDS)
    document = history.document()
    assert len(document["fine"]["at"]) == FINE_POINTS
    assert len(document["coarse"]["at"]) == COARSE_POINTS


def test_counters_stand_as_they_were_and_peaks_are_not_lost() -> None:
    history = Samples(5.0)
    for second, lag in ((0, 1.0), (10, 2.0), (100, 77.0), (200, 3.0), (300, 4.0)):
        history.add(moment(destinations=(FILE, replace(SIEM, lag_seconds=lag))), 1000.0 + second)
    document = history.document()
    assert document["since"] == 5.0
    assert document["fine"]["at"] == [1000.0, 1010.0, 1100.0, 1200.0, 1300.0]
    assert document["fine"]["accepted"] == [130.0] * 5
    disk, siem = document["coarse"]["destinations"]
    assert (disk["name"], disk["delivered"], disk["lost"]) == ("disk", [120.0, 120.0], [0.0, 0.0])
    assert (siem["delivered"], siem["lost"], siem["pending"]) == ([60.0] * 2, [6.0] * 2, [54.0] * 2)
    assert siem["lag_seconds"] == [1.0, 77.0]


def test_a_clock_that_is_set_back_begins_a_new_point() -> None:
    history = Samples(0.0)
    for now in (5000.0, 10.0, 20.0):
        history.add(moment(), now)
    assert history.document()["fine"]["at"] == [5000.0, 10.0, 20.0]


def test_an_empty_sink_has_a_history() -> None:
    assert Samples(0.0).document()["fine"]["at"] == []
