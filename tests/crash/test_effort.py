"""The table at the end of the long forms: a line for each kind, whatever came of it."""

from effort import Kind, Report, table


def test_cuts_of_one_ledger_are_one_line_and_what_was_not_counted_stays_empty() -> None:
    report = Report("test_a_cut", 7)
    report.row(1, "power cuts", answered=100, missing=0, repeated=3, verify="whole")
    report.row(1, "power cuts", answered=4200, missing=2, repeated=4, verify="whole")
    assert report.rows[1] == "test_a_cut: 1 power cuts, answered 4200, missing 2, repeated 4, verify whole (seed 7)"
    assert table(
        [
            Kind("test_a_cut[no-cache]", report.counts, 90.0, "failed"),
            Kind("test_a_start", [{"tried": 2, "of": "starts"}], 6.0, "passed"),
            Kind("test_a_mount", [], 0.0, "skipped: needs root"),
        ]
    ) == [
        "| kind | tried | answered | missing | repeated | minutes | outcome |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| a cut[no-cache] | 2 power cuts | 4,200 | 2 | 7 | 1.5 | failed |",
        "| a start | 2 starts |  |  |  | 0.1 | passed |",
        "| a mount |  |  |  |  | 0.0 | skipped: needs root |",
    ]
