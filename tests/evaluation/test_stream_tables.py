import math

import pandas as pd
import pytest
from rich.console import Console

from almeta.evaluation.published import TABLE_1
from almeta.evaluation.report import Report
from almeta.evaluation.stream_tables import (
    novelty_table,
    shown_table,
    table_of_instances,
    table_of_novelty,
    table_of_policies,
)
from almeta.evaluation.writers import console_text, markdown


def printed(table: pd.DataFrame, width: int = 120) -> str:
    report = Report("Results", tables=[shown_table("table", table)])
    return console_text(report, Console(width=width))


def markdown_lines(table: pd.DataFrame) -> list[str]:
    """The lines below the title."""
    return markdown(Report("Results", tables=[shown_table("table", table)])).splitlines()[2:]


def test_one_summary_has_its_interval_over_episodes(make_summary):
    row = table_of_policies({"LSTM": make_summary(accuracy=0.6)}).iloc[0]
    assert (row["kind"], row["policy"], row["interval_over"]) == ("policy", "LSTM", "1,000 episodes")
    assert (row["accuracy"], row["accuracy_interval"]) == (0.6, 0.02)


def test_several_summaries_have_their_interval_over_seeds(make_summary):
    seeds = [make_summary(mean_return=value) for value in (1.0, 2.0, 3.0)]
    row = table_of_policies({"LSTM": seeds}).iloc[0]
    assert row["interval_over"] == "3 seeds"
    assert row["mean_return"] == 2.0
    assert row["mean_return_interval"] == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)


def test_equal_summaries_are_one_measurement(make_summary):
    row = table_of_policies({"never": [make_summary(), make_summary()]}).iloc[0]
    assert (row["interval_over"], row["accuracy_interval"]) == ("1,000 episodes", 0.02)


def test_kinds_come_in_order_and_published_rows_have_no_interval(make_summary):
    table = table_of_policies({"LSTM": make_summary()}, {"never": make_summary()}, published=TABLE_1)
    assert list(table["kind"]) == ["policy", "baseline"] + ["published"] * 5
    last = table.iloc[-1]
    assert (last["accuracy"], last["prediction_accuracy"], last["request_rate"]) == (0.366, 0.928, 0.606)
    assert math.isnan(last["accuracy_interval"])
    assert math.isnan(last["mean_return"])


def test_a_label_without_summary_is_refused():
    with pytest.raises(ValueError, match="no summary of policy 'LSTM'"):
        table_of_policies({"LSTM": []})


def test_markdown_shows_percents_intervals_and_dashes(make_summary):
    silent = make_summary(accuracy=0.0, prediction_accuracy=None, request_rate=1.0, mean_return=-1.5)
    lines = markdown_lines(table_of_policies({"a|b": make_summary()}, {"always": silent}))
    assert lines[0].startswith("| policy | all steps correct, % | predictions correct, % |")
    assert lines[2] == (r"| a\|b | 60.0 ± 2.0 | 80.0 ± 2.0 | 25.0 ± 2.0 | 10.00 ± 0.02 |")
    assert lines[3] == "| always | 0.0 ± 2.0 | – | 100.0 ± 2.0 | -1.50 ± 0.02 |"
    assert lines[5].startswith("±: half of a 95 % interval over 1,000 episodes.")


def test_where_every_label_is_told_the_note_says_so(make_summary):
    told = make_summary(accuracy=0.6, prediction_accuracy=0.6, request_rate=1.0)
    assert "nobody requests, and all steps predict" in markdown_lines(table_of_policies({"a": told}))[-1]
    mixed = table_of_policies({"a": told, "b": make_summary()})
    assert "A step with a request is not a correct one" in markdown_lines(mixed)[-1]
    assert (
        "A step with a request is not a"
        in markdown_lines(table_of_policies({"a": make_summary()}, published=TABLE_1))[-1]
    )


def test_terminal_shows_every_row_and_takes_labels_literally(make_summary):
    text = printed(table_of_policies({"agent (layers=[a,b])": make_summary()}, published=TABLE_1))
    assert "agent (layers=[a,b])" in text
    assert "60.0 ± 2.0" in text
    assert "published: RL (R_inc -20)" in text
    assert "Woodward & Finn 2017" in " ".join(text.split())


def test_terminal_of_80_columns_cuts_no_number(make_summary):
    text = printed(table_of_policies({"a policy with a long name": make_summary()}, published=TABLE_1), width=80)
    for number in ("60.0 ± 2.0", "80.0 ± 2.0", "25.0 ± 2.0", "10.00 ± 0.02", "91.0"):
        assert number in text


def test_table_of_instances(make_summary):
    summary = make_summary()
    summary["by_instance"][9] |= {
        "count": 0,
        "request_rate": None,
        "accuracy": None,
        "prediction_accuracy": None,
    }
    table = table_of_instances(summary)
    assert list(table["instance"]) == list(range(1, 11))
    lines = markdown_lines(table)
    assert lines[2] == "| 1 | 1,200 | 50.0 | 70.0 | 10.0 |"
    assert lines[-1] == "| 10 | 0 | – | – | – |"
    assert "1,200" in printed(table)


def test_a_line_stands_between_kinds(make_summary):
    table = shown_table("table", table_of_policies({"LSTM": make_summary()}, {"never": make_summary()}))
    assert table.groups == ["policy", "baseline"]
    rows = printed(table.numbers).splitlines()
    (first,) = (place for place, row in enumerate(rows) if "LSTM" in row)
    assert rows[first + 1].strip() == "" and "never" in rows[first + 2]


def scripts(*rates):
    return [{"script": script, "request_rates": own} for script, own in zip(("AAB", "AAA"), rates, strict=True)]


def test_requests_at_new_and_at_known_classes():
    """The first step of a script counts for none."""
    seeds = [scripts([1.0, 0.25, 0.5], [1.0, 0.25, 0.125]), scripts([0.0, 0.5, 1.0], [0.0, 0.5, 0.0])]
    row = table_of_novelty({"a": seeds}).iloc[0]
    assert row.to_dict() == {"policy": "a", "new": 0.75, "new_least": 0.5, "known": 1.625 / 6, "known_most": 0.5}
    alone = table_of_novelty({"b": [scripts([1.0, 0.25, 0.5], [1.0, 0.25, 0.125])[1:]]}).iloc[0]
    assert math.isnan(alone["new"]) and alone["known_most"] == 0.25
    (table,) = novelty_table({"a": seeds, "reveals all labels": [[], []]})
    text = console_text(Report("Results", tables=[table]), Console(width=80))
    assert [line.split() for line in text.splitlines() if line.startswith(" a ")] == [
        ["a", "75.0", "50.0", "27.1", "50.0"]
    ]
    assert "reveals" not in text and novelty_table({"a": [[]]}) == []
