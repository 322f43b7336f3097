"""Tables, picture and page of a comparison whose figures are known."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest

from preprocessing.errors import UserError
from tests.trainer import test_compare as toy
from tests.trainer.toys import eval_triggers
from tfx_pipeline import figures
from tfx_pipeline.comparison_files import FILES, read_comparison, write_comparison
from tfx_pipeline.comparison_sheets import comparison_sheets, headline_sentences, percent, plus_minus, summary
from tfx_pipeline.figures import frontier_png, frontier_svg
from tfx_pipeline.label_places import place_labels
from tfx_pipeline.sheets import Sheet, markdown, rich_table
from tfx_pipeline.tables import console
from trainer.bootstrap import Estimate
from trainer.compare import compare
from trainer.evaluate import make_judge


@pytest.fixture(scope="module")
def comparison():
    return compare(toy.CONTENDERS, toy.judge(), toy.CONFIG, toy.SEED)


def sheet(comparison, title):
    (found,) = [sheet for sheet in comparison_sheets(comparison).values() if title in sheet.title]
    return {(row[: found.words] if found.words > 1 else row[0]): row[found.words :] for row in found.rows}


def test_cells():
    assert plus_minus(Estimate(0.2034, 0.199, 0.207)) == "0.203±.004"
    assert plus_minus(Estimate(9.3, 8.0, 10.6)) == "9.300±1.300"
    assert plus_minus(Estimate(0.5, None, None)) == "0.500"
    assert plus_minus(Estimate(None, None, None)) == percent(Estimate(None, None, None)) == "–"
    assert percent(Estimate(15.44, 12.06, -1.0)) == "+15.4 [+12.1, -1.0]"


def test_main_table_shows_the_dial_at_its_ends_and_by_default(comparison):
    main = comparison_sheets(comparison)["metrics"]
    rows = [row[:2] for row in main.rows]
    assert rows == [
        ("popularity", ""), ("content only", ""), ("one head, ids + content", ""),
        ("two models", "0"), ("two models", "0.4"), ("two models", "1"),
        ("MTMH", "0"), ("MTMH", "0.42"), ("MTMH", "1"),
    ]  # fmt: skip
    assert any("neither model nor teacher saw" in note for note in main.notes)
    assert main.notes[-1] == "chosen on the validation slice: content only: centred no, shrinkage 10.5"


def test_headline_table(comparison):
    rows = sheet(comparison, "headline")
    over = "one head, ids + content"
    assert rows[over, "0"][0].startswith("+50.0 [")
    assert rows[over, "0"][2].startswith("-100.0")
    assert rows[over, "0.42 (default)"] == ("+0.0 [+0.0, +0.0]",) * 3
    assert (over, "0 (recall ≥ +14.4 %)") in rows
    assert comparison_sheets(comparison)["gains"].notes[0].startswith("+14.4 % recall: what the paper")


def test_frontier_table(comparison):
    rows = sheet(comparison, "frontier")
    assert rows["MTMH"] == ("0.2800", "", "", "0.2000", "", "")
    assert rows["one head, ids + content"][0] == "0.2400"
    assert rows["one head, ids + content"][2] == "no"
    assert rows["content only"][2] == "–"


def test_frontier_table_of_one_model_has_its_area_alone():
    alone = compare(toy.CONTENDERS[-1:], toy.judge(), toy.CONFIG, toy.SEED)
    table = comparison_sheets(alone)["areas"]
    assert table.header == ("model", "relevance\narea", "topic match\narea")
    assert table.rows == (("MTMH", "0.2800", "0.2000"),)
    assert not any("above" in note for note in table.notes)
    assert "areas" not in comparison_sheets(compare(toy.CONTENDERS[:1], toy.judge(), toy.CONFIG, toy.SEED))


def test_floor_table_names_the_worst_setting(comparison):
    held, dial, least = sheet(comparison, "coverage and tail share")["tail share"]
    assert (held, dial) == ("16 of 22", "0")  # all from 0.3 on
    assert least.startswith("-1.0000")


def test_headline_in_words(comparison):
    first, second = headline_sentences(comparison)
    assert first == (
        "MTMH at dial 0 over one head, ids + content, the best co-engagement baseline: "
        "recall +50.0 %, relevance -66.7 %, topic match -100.0 %"
    )
    assert "at dial 0.42" in second
    assert "10 triggers of 10 users" in summary(comparison)


def test_one_user_has_no_intervals():
    items, alone = toy.ITEMS, eval_triggers([(0, [1])] * 3, users=[7] * 3)
    found = compare(toy.CONTENDERS, make_judge(items, alone, categories_seen=False), toy.CONFIG, toy.SEED)
    sheets = comparison_sheets(found)
    assert sheets["metrics"].rows[-1][2] == "0.000"
    assert not any("±" in cell or "[" in cell for sheet in sheets.values() for row in sheet.rows for cell in row)
    assert "3 triggers of one user after the split" in summary(found)
    assert "±" not in summary(found)
    assert {gap.reached for gap in found.gaps} == {1.0}


def test_tables_without_what_they_need_are_left_out():
    few = compare(toy.CONTENDERS[:2], toy.judge(), toy.CONFIG, toy.SEED)
    titles = [sheet.title for sheet in comparison_sheets(few).values()]
    assert len(titles) == 4
    assert not headline_sentences(few)


def test_markdown_and_terminal_show_cells_as_they_are():
    table = Sheet("t", ("a", "b\nc"), (("x|y [bold]", "1"),), ("n", "m"))
    assert markdown([table]) == "## t\n\n| a | b c |\n| --- | ---: |\n| x\\|y [bold] | 1 |\n\nn; m.\n"
    out = console()
    with out.capture() as captured:
        out.print(rich_table(table))
    assert "x|y [bold]" in captured.get()


# --- picture ------------------------------------------------------------------------------------------------------


def test_picture_is_the_same_again(comparison):
    assert frontier_png(comparison) == frontier_png(comparison)
    assert frontier_svg(comparison) == frontier_svg(comparison)
    assert frontier_png(comparison)[:4] == b"\x89PNG"


def test_picture_has_a_panel_for_each_axis_that_can_be_told(comparison):
    def panels(found):
        return len(re.findall(r'<g id="axes_\d+">', frontier_svg(found)))

    assert panels(comparison) == 2
    plain = dataclasses.replace(toy.ITEMS, categories=[()] * 4)
    assert panels(compare(toy.CONTENDERS, toy.judge(plain), toy.CONFIG, toy.SEED)) == 1
    nothing = dataclasses.replace(plain, content_vectors=np.zeros((4, 1), np.float32))
    assert panels(compare(toy.CONTENDERS, toy.judge(nothing), toy.CONFIG, toy.SEED)) == 1


def test_labels_hide_neither_each_other_nor_points():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5))
    FigureCanvasAgg(figure)
    panel = figure.add_subplot()
    points = [(0.1 * x, 0.1 * y) for x in range(3) for y in range(4)]
    for point in points:
        panel.plot(*point, "o")
    panel.margins(0.5)
    figure.draw_without_rendering()
    place_labels(figure, panel, [(f"label {n}", point, "black", False) for n, point in enumerate(points)])
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in panel.texts if text.get_text()]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    at = panel.transData.transform(points)
    assert not any(box.contains(*point) for box in boxes for point in at)
    frame = panel.get_window_extent(renderer)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def test_labels_name_models_and_settings(comparison, monkeypatch):
    labelled = []
    monkeypatch.setattr(figures, "place_labels", lambda figure, panel, labels: labelled.append(labels))
    frontier_png(comparison)
    relevance = [text for text, *_ in labelled[0]]
    assert relevance.count("0.5") == 2  # both dials
    assert "MTMH (ring: default dial 0.42)" in relevance
    assert "one head, ids + content" in relevance
    assert "popularity" not in relevance  # it retrieves nothing, so nothing is relevant


# --- files --------------------------------------------------------------------------------------------------------


class Outside(HTMLParser):
    """What a page would load from elsewhere, and its table cells."""

    def __init__(self):
        super().__init__()
        self.found, self.cells = [], 0

    def handle_starttag(self, tag, attrs):
        self.cells += tag == "td"
        loads = {"src", "href", "xlink:href", "data", "action"}
        self.found += [v for name, v in attrs if name in loads and v and not v.startswith(("#", "data:"))]
        if tag in ("script", "link", "iframe"):
            self.found.append(tag)


def test_page_stands_alone(comparison, tmp_path):
    write_comparison(tmp_path, comparison)
    text = (tmp_path / FILES["page"]).read_text(encoding="utf-8")
    page = Outside()
    page.feed(text)
    assert page.found == []
    assert page.cells > 100
    assert "url(http" not in text
    assert "@import" not in text
    ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


def test_files_are_written_and_read(comparison, tmp_path):
    written = write_comparison(tmp_path, comparison)
    assert read_comparison(tmp_path) == written
    text = (tmp_path / FILES["markdown"]).read_text(encoding="utf-8")
    assert text.count("\n## ") == len(comparison_sheets(comparison))
    assert "](frontier.png)" in text


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="run `mtmh compare` first"):
        read_comparison(tmp_path)
    (tmp_path / FILES["json"]).write_bytes(b"\xff")
    with pytest.raises(UserError, match="run `mtmh compare` again"):
        read_comparison(tmp_path)


def test_held_out_annotations_have_a_table_and_rows(comparison, tmp_path):
    graded = Estimate(0.8765, 0.8, 0.9)
    models = tuple(
        dataclasses.replace(
            model,
            points=tuple(
                dataclasses.replace(point, annotation_ndcg=graded if model.name == "mtmh" else None)
                for point in model.points
            ),
        )
        for model in comparison.models
    )
    found = dataclasses.replace(
        comparison, models=models, data=dataclasses.replace(comparison.data, annotated_triggers=7)
    )
    cells = ("0.876±.050",)
    wanted = {("MTMH", "0"): cells, ("MTMH", "0.42"): cells, ("MTMH", "1"): cells}
    (shown,) = [sheet for sheet in comparison_sheets(found).values() if "annotations" in sheet.title]
    assert {row[:2]: row[2:] for row in shown.rows} == wanted
    assert "7 triggers" in shown.notes[1]
    assert "graded" not in comparison_sheets(comparison)
    write_comparison(tmp_path, found)
    rows = (tmp_path / FILES["csv"]).read_text().splitlines()
    assert "mtmh,0.42,all,annotation_ndcg,0.8765,0.8,0.9" in rows
    assert sum("annotation" in row for row in rows) == len(found.model("mtmh").points)
    assert read_comparison(tmp_path).model("mtmh") == found.model("mtmh")
