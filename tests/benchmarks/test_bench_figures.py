"""What the benchmark makes of its figures."""

import orjson

from benchmarks import plot, report
from benchmarks.figures import Summary, ratio, summarize
from benchmarks.report import Report


def results(**systems: list[float]) -> dict[str, dict[str, Summary]]:
    return {name: summarize([{"delivered": value} for value in rounds]) for name, rounds in systems.items()}


def test_a_summary_is_the_median_of_the_rounds() -> None:
    assert summarize([{"rss": 3.0}, {"rss": 100.0}, {"rss": 1.0}])["rss"].median == 3.0


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_minute_hits_both_sides() -> None:
    ours, theirs = Summary((10.0, 1.0, 30.0)), Summary((5.0, 0.5, 15.0))
    assert ratio(ours, theirs) == 2.0


def test_there_is_no_ratio_to_nothing() -> None:
    assert ratio(Summary((1.0,)), Summary((0.0,))) is None


def test_a_table_shows_median_span_target_and_ratio() -> None:
    shown = report.table(results(auditsink=[100.0, 300.0, 200.0], peer=[50.0, 150.0, 100.0]), {"delivered": 120.0})
    assert (
        "| delivered, events/s | at least 120: reached | 200 (100 to 300) | 100 (50 to 150) | 2.00 |"
        in shown.splitlines()
    )


def test_a_metric_that_a_peer_does_not_have_leaves_its_cell_empty() -> None:
    both = {"auditsink": {"sync_share": Summary((50.0,))}, "peer": {"delivered": Summary((7.0,))}}
    rows = report.table(both, {}).splitlines()
    assert "| delivered, events/s |  |  | 7 |  |" in rows
    assert "| share of the answer that is the sync, % |  | 50 |  |  |" in rows


def test_a_plot_has_a_bar_for_each_system_and_a_dot_for_each_round() -> None:
    found = results(auditsink=[1.0, 2.0], peer=[3.0, 4.0])
    drawn = plot.plots(Report({}, {}, 2, {"full-speed": "A & B"}, {}, {"full-speed": found}))
    assert list(drawn) == ["throughput"]
    assert drawn["throughput"].count("<circle") == 4
    assert drawn["throughput"].count('height="16"') == 2
    assert "A &amp; B" in drawn["throughput"]


def test_a_report_says_first_which_targets_are_reached() -> None:
    found = {"auditsink": {"rss": Summary((50.0, 70.0, 60.0)), "cpu_gb": Summary((5.0,))}}
    one = Report({}, {}, 3, {"paced": "Paced"}, {"paced": {"rss": 64.0, "cpu_gb": 4.0, "p50": 1.0}}, {"paced": found})
    shown = report.text(one)
    assert "| Paced | RSS, peak, MB | at most 64: reached | 60 (50 to 70) |" in shown.splitlines()
    assert "| Paced | CPU per GB of input, s | at most 4.0: missed | 5.0 |" in shown.splitlines()


def test_a_target_may_be_a_ratio_to_a_peer() -> None:
    found = results(auditsink=[100.0, 300.0, 200.0], peer=[50.0, 150.0, 100.0])
    targets = {"delivered/peer": 2.5, "delivered/absent": 9.0, "rss/peer": 1.0}
    shown = report.text(Report({}, {}, 3, {"a": "A"}, {"a": targets}, {"a": found}))
    assert "| A | delivered, beside peer | at least 2.50: missed | 2.00 |" in shown.splitlines()
    assert "| 2.00 (at least 2.50: missed) |" in shown
    assert "absent" not in shown


def test_a_report_that_was_written_is_read_back_whole() -> None:
    found = results(auditsink=[1.0, 2.0], peer=[3.0, 4.0])
    one = Report(
        {"cpu": "x"}, {"auditsink": "1"}, 2, {"a": "A"}, {"a": {"delivered": 7.0}}, {"a": found}, [{"rss": 1.0}]
    )
    assert report.restored(orjson.loads(orjson.dumps(report.document(one)))) == one


def test_figures_of_another_machine_or_version_are_not_put_together() -> None:
    machine = {"cpu": "x", "date": "2026-11-22", "load before": "0.1"}
    one = Report(machine, {"auditsink": "1"}, 5)
    assert report.comparable(one, Report(machine | {"date": "2026-11-23", "load before": "7.0"}, {"auditsink": "1"}, 3))
    assert not report.comparable(one, Report(machine | {"cpu": "y"}, {"auditsink": "1"}, 5))
    assert not report.comparable(one, Report(machine, {"auditsink": "2"}, 5))


def test_a_target_whose_metric_is_no_more_is_left_out() -> None:
    found = results(auditsink=[1.0])
    assert "##" not in report.text(Report({}, {}, 1, {"a": "A"}, {"a": {"gone": 1.0}}, {"a": found})).split("## A")[0]


def test_what_only_some_rounds_have_is_left_out() -> None:
    assert set(summarize([{"rotations": 3.0, "rotation_p99.9": 1.0}, {"rotations": 2.0}])) == {"rotations"}
