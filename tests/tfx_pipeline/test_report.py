"""``mtmh report`` on the checkerboard: what is there is shown, and what is not names the verb that makes it."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest

from preprocessing.manifest import load_manifest
from tests.tfx_pipeline.report_toys import HOSTILE, SECTIONS, report, write_card
from tests.tfx_pipeline.test_compare import SMALL, compare, make_workdir
from tests.trainer.toys import checkerboard_events, eval_triggers, item_table
from tfx_pipeline import cli
from tfx_pipeline.comparison_files import read_comparison
from tfx_pipeline.comparison_sheets import comparison_sheets
from tfx_pipeline.config import load_config
from tfx_pipeline.report import collect, read_index
from tfx_pipeline.report_curves import read_histories
from tfx_pipeline.report_data import summarise, utc
from tfx_pipeline.report_neighbours import sample_by_slice
from tfx_pipeline.report_page import TEMPLATE, apart
from tfx_pipeline.workdir import Workdir

OPTIONAL_SHEETS = {"graded", "gains", "gaps", "areas", "floors"}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A work directory without annotations after `mtmh compare` of all that the checkerboard is quick with."""
    workdir = make_workdir(tmp_path_factory.mktemp("compared"))
    assert compare(workdir, "--models", "popularity,content,one_head,mtmh")[0] == 0
    return workdir


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A work directory with examples, and nothing else."""
    return make_workdir(tmp_path_factory.mktemp("bare"))


class _Outline(HTMLParser):
    """Ids, links, headings and tags of a page, with every tag closed."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.tags, self.unlabelled, self.open, self.titles = [], [], set(), [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [value for name, value in attributes if name in ("href", "src", "xlink:href", "action")]
        if values.get("role") in ("img", "region") and not values.get("aria-label"):
            self.unlabelled.append(self.get_starttag_text())
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def test_page_is_well_formed_and_stands_alone(whole):
    _, page = whole
    outline = _Outline(page)
    assert not outline.open
    assert outline.titles == SECTIONS
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.links
    assert all(link.startswith("#") and link[1:] in outline.ids for link in outline.links)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & outline.tags
    assert not outline.unlabelled
    assert not re.search(r"url\((?!#)|@import", page)


def test_titles_are_escaped(whole):
    _, page = whole
    assert html.escape(HOSTILE) in page.replace("&#34;", "&quot;")
    assert "<script" not in page
    assert "example.invalid/x.png>" not in page.replace("&gt;", "")


def test_shows_what_is_there(whole):
    workdir, page = whole
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
    for words in (
        "Not here yet", "needs MTMH and a one-head",
    ):  # fmt: skip
        assert words not in text
    for words in (
        "used 900 (90.0 %)", "dead letters 40 (4.0 %)", "bad timestamp 30", "user cap 60", "0.9750", "0.9991",
        "MTMH at dial 0 over one head", "one head, ids + content, dial 0", "MTMH, dial 0.32 (default)",
        "content only", "as configured below", "index: leaves", "tensorflow 2.16",
        "how held-out annotations are ranked", "of one trigger",
    ):  # fmt: skip
        assert words in text, words
    manifest = json.loads((workdir.examples / "manifest.json").read_text())
    assert manifest["interactions"]["rows_in"] == 1000
    assert len(re.findall(r"\b[0-9a-f]{64}\b", text)) == 2 + 2 * 2
    # The frontier and two trainings.
    assert page.count("<svg") == 3


@pytest.mark.parametrize(
    ("models", "present"),
    [
        ("popularity,content,one_head,mtmh", {"gains", "gaps", "areas", "floors"}),
        ("one_head,mtmh", {"gains", "areas", "floors"}),
        ("mtmh", {"areas"}),
        ("one_head,popularity", set()),
        ("content", set()),
    ],
)
def test_shows_a_comparison_of_any_models(compared, tmp_path, models, present):
    workdir = Workdir(tmp_path / "copy")
    shutil.copytree(compared.root, workdir.root)
    assert compare(workdir, "--models", models, "--set", "trainer.tensorboard=false")[0] == 0
    sheets = comparison_sheets(read_comparison(workdir.comparison))
    assert OPTIONAL_SHEETS & set(sheets) == present
    status, _, page = report(workdir)
    assert status == 0
    captions = re.findall(r"<caption>(.*?)</caption>", page)
    assert {sheet.title for sheet in sheets.values()} <= {html.unescape(caption) for caption in captions}
    asked = re.findall(r"it needs MTMH and a one-head model; run <code>mtmh compare --models (\S+) --workdir", page)
    assert len(asked) == ("gains" not in present)
    assert not asked or set(asked[0].split(",")) == {*models.split(","), "one_head", "mtmh"}


def test_same_workdir_same_bytes_and_another_file(whole, tmp_path):
    workdir, page = whole
    status, path, again = report(workdir, "--output", str(tmp_path / "sub" / "page.html"))
    assert (status, path, again) == (0, str(tmp_path / "sub" / "page.html"), page)


def test_a_file_that_cannot_be_written_is_one_line(bare, tmp_path, capsys):
    assert cli.main(["report", "--workdir", str(bare.root), "--output", str(tmp_path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("mtmh: error: cannot write")
    assert "--output" in line


def test_what_is_missing_names_its_verb(bare):
    status, _, page = report(bare)
    assert status == 0
    outline = _Outline(page)
    assert outline.titles == SECTIONS
    commands = {html.unescape(command) for command in re.findall(r"<code>(mtmh .*?)</code>", page)}
    where = f"--workdir {bare.root}"
    assert commands == {
        f"mtmh compare {where}", f"mtmh export {where}", f"mtmh train {where}",
        f"mtmh compare --models one_head,mtmh {where}",
    }  # fmt: skip
    assert "no columns of MTMH" in page
    assert ">content only<" in page  # it needs no training


def test_damaged_parts_are_told_and_no_fault(bare, tmp_path):
    workdir = Workdir(tmp_path / "damaged")
    shutil.copytree(bare.root, workdir.root)
    for path in (
        workdir.comparison / "comparison.json", workdir.model("mtmh") / "model.json",
        workdir.training("mtmh") / "checkpoints" / "training" / "state.json", write_card(workdir, {}),
    ):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"half')
    status, _, page = report(workdir)
    assert status == 0
    for words in ("is no comparison that can be read", "is damaged", "cannot be read", "nothing has been trained"):
        assert words in page


def test_without_examples_it_is_a_mistake_of_the_user(tmp_path, capsys):
    assert cli.main(["report", "--workdir", str(tmp_path)]) == 2
    assert "run `mtmh preprocess" in capsys.readouterr().err


def test_a_model_of_other_examples_is_warned_of(whole, tmp_path):
    workdir = Workdir(tmp_path / "stale")
    shutil.copytree(whole[0].root, workdir.root)
    path = workdir.model("mtmh") / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"examples_digest": "0" * 64}))
    found = collect(workdir, load_config(None, SMALL))
    assert any("mtmh was trained on other examples" in warning for warning in found.warnings)
    assert {row[0]: row[1] for row in found.models.rows} == {
        "mtmh": "trained on other examples", "one_head": "as configured below",
    }  # fmt: skip


def test_a_comparison_of_something_else_is_warned_of(whole, tmp_path):
    workdir = Workdir(tmp_path / "stale")
    shutil.copytree(whole[0].root, workdir.root)
    assert not collect(workdir, load_config(None, SMALL)).warnings
    model, manifest = workdir.model("one_head") / "model.json", workdir.examples / "manifest.json"
    model.write_text(json.dumps(json.loads(model.read_text()) | {"epochs": 99}))
    (warning,) = collect(workdir, load_config(None, SMALL)).warnings
    command = f"mtmh compare --workdir {workdir.root}"
    assert warning == f"the comparison is of another training of one_head than is here; run `{command}` again"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"num_users": 99}))
    assert any(
        "comparison was made on other examples" in found
        for found in collect(workdir, load_config(None, SMALL)).warnings
    )
    shutil.rmtree(workdir.comparison)
    assert not any("the comparison" in found for found in collect(workdir, load_config(None, SMALL)).warnings)


def test_newest_version_and_its_dial(tmp_path):
    workdir = Workdir(tmp_path)
    write_card(workdir, {"0.0": 0.5}, "9")
    write_card(workdir, {"1.0": 0.97, "0.25": 0.99}, "10")
    index = read_index(workdir, load_config(None, []))
    assert (index.version, index.recall) == ("10", ((0.25, 0.99), (1.0, 0.97)))
    assert ("index: leaves", "3") in index.facts


def test_neighbours_never_hold_the_trigger_and_tell_who_followed(whole):
    workdir, _ = whole
    neighbours = collect(workdir, load_config(None, SMALL)).neighbours
    assert neighbours.columns == (
        "one head, ids + content, dial 0", "MTMH, dial 0", "MTMH, dial 0.32 (default)", "MTMH, dial 1", "content only",
    )  # fmt: skip
    # 275 interactions: the first two make half of them, the first four 80 %.
    assert {name: len(asked) for name, asked in neighbours.asked.items()} == {
        "head": 2, "torso": 2, "tail": 3, "cold": 2,
    }  # fmt: skip
    events = checkerboard_events(events=40, seed=1)
    for asked in (one for part in neighbours.asked.values() for one in part):
        trigger = int(asked.trigger.item_id[1:])
        followed = {target for row, targets in events if row == trigger for target in targets}
        for answers in asked.answers:
            ids = [int(answer.item_id[1:]) for answer in answers]
            assert len(set(ids)) == len(ids) == 6
            assert trigger not in ids
            assert [answer.followed for answer in answers] == [item in followed for item in ids]
        # Content tells the colours, and every field shares one category with every other.
        assert all(answer.categories[0][1] for answer in asked.answers[-1])


def test_sample_is_seeded_and_inside_its_slice():
    counts = np.array([0] * 40 + [1] * 40 + [50] * 3)
    sampled = sample_by_slice(counts, 7)
    assert {name: len(rows) for name, rows in sampled.items()} == {"head": 2, "torso": 3, "tail": 3, "cold": 3}
    assert (counts[sampled["cold"]] == 0).all()
    assert (counts[sampled["tail"]] == 1).all()
    assert all((sampled[name] == rows).all() for name, rows in sample_by_slice(counts, 7).items())
    assert any((sampled[name] != rows).any() for name, rows in sample_by_slice(counts, 8).items())


def test_slice_sizes_by_hand(whole):
    """Head: item 0 (6 of 10), torso: item 1 (3), tail: item 2 (1), cold: items 3 and 4."""
    items = item_table(list("abcde"), interaction_count=[6, 3, 1, 0, 0])
    triggers = eval_triggers([(0, [1, 3]), (0, [2]), (1, [0]), (4, [0, 1])])
    summary = summarise(load_manifest(str(whole[0].examples)), items, triggers)
    assert summary.slices.rows == (
        ("head", "1", "2", "2"), ("torso", "1", "1", "1"), ("tail", "1", "0", "0"), ("cold", "2", "1", "3"),
    )  # fmt: skip


def test_times():
    assert utc(1_320_710_400.0) == "2011-11-08 00:00 UTC"
    assert utc(1e30) == "1e+30"


def test_histories_bear_gaps_and_stages(tmp_path):
    workdir = Workdir(tmp_path)
    for name, stage, history in (
        ("mtmh", "training", [{"train/loss": 2.0, "validation_engagement_head/recall@5": 0.1}, {"train/loss": 1.0}]),
        ("mtmh", "final", [{"train/loss": 1.5}]),
        ("one_head", "final", [{"train/loss": 3.0}]),
    ):
        path = workdir.training(name) / "checkpoints" / stage / "state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"state": {"best_epoch": 1, "history": history}}))
    (workdir.root / "training" / "comparison").mkdir()
    one_head, mtmh = read_histories(workdir)
    assert (one_head.model, one_head.best_epoch, one_head.losses) == ("one_head", 0, {})
    assert mtmh.losses == {"train/loss": (2.0, 1.0)}
    assert mtmh.final_losses == {"train/loss": (1.5,)}
    recall = mtmh.validation["validation_engagement_head/recall"]
    assert recall[0] == 0.1
    assert np.isnan(recall[1])


def test_pictures_keep_their_ids_apart():
    svg = '<svg><metadata>\n<a href="http://x"/></metadata><g id="p"/><use xlink:href="#p" clip-path="url(#p)"/></svg>'
    assert apart(svg, "f-") == '<svg><g id="f-p"/><use xlink:href="#f-p" clip-path="url(#f-p)"/></svg>'


def test_template_is_there():
    assert (resources.files("tfx_pipeline") / "templates" / TEMPLATE).is_file()
