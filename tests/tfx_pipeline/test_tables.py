"""What is said of a table's judge."""

import dataclasses

from tfx_pipeline.tables import metrics_notes, metrics_table
from trainer.evaluate import Scores

SCORES = Scores(
    k=50,
    relevance_weight=0.15,
    values={
        "recall": 0.25,
        "relevance": None,
        "topic_match": 0.5,
        "coverage": 1.0,
        "tail_share": 0.1,
        "recall_cold": 0.0,
    },
    num_triggers=1200,
    num_pairs=3400,
    num_cold_pairs=56,
    topic_match_independent=True,
)


def test_notes_say_who_judges():
    assert "neither model nor teacher saw" in metrics_notes(SCORES)
    assert "not independent" in metrics_notes(dataclasses.replace(SCORES, topic_match_independent=False))
    without = dataclasses.replace(SCORES, values=SCORES.values | {"topic_match": None})
    assert "no categories" in metrics_notes(without)
    assert "1,200 triggers" in metrics_notes(SCORES)


def test_table_has_a_row_for_each_setting_and_marks_what_is_not_known():
    table = metrics_table([("mtmh", SCORES)])
    assert "annotation" not in metrics_notes(SCORES)
    cells = [list(column.cells) for column in table.columns]
    assert [column[0] for column in cells] == ["mtmh", "0.15", "0.250", "–", "0.500", "1.000", "0.100", "0.000"]


def test_the_row_of_the_default_dial_is_marked():
    at_0 = dataclasses.replace(SCORES, relevance_weight=0.0)
    table = metrics_table([("mtmh", at_0), ("mtmh", SCORES)], SCORES)
    assert list(table.columns[1].cells) == ["0", "0.15 (default)"]


def test_annotations_have_a_column_where_any_are_held_out():
    table = metrics_table([("one_head", SCORES), ("mtmh", dataclasses.replace(SCORES, annotation_ndcg=0.8765))])
    assert list(table.columns[-1].cells) == ["–", "0.876"]
    assert "held out from training" in metrics_notes(dataclasses.replace(SCORES, annotation_ndcg=0.8765))
