"""A work directory with all that the report shows."""

import contextlib
import dataclasses
import io
import json

from preprocessing.schema import TableCounts
from tests.tfx_pipeline.test_compare import compare, make_workdir
from tests.trainer.toys import checkerboard_events, checkerboard_items, write_examples
from tfx_pipeline import cli

HOSTILE = "<script>alert(1)</script> & <img src=http://example.invalid/x.png>"
SECTIONS = [
    "Headline", "Frontier", "Neighbours, side by side", "Data", "Training", "Metrics", "Slices", "Coverage and tail",
    "Index honesty", "Configuration", "Hashes and versions",
]  # fmt: skip


def report(workdir, *arguments):
    """Status of the verb, and the page."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = cli.main(["report", "--workdir", str(workdir.root), *arguments])
    path = out.getvalue().strip()
    return status, path, open(path, encoding="utf-8").read() if status == 0 else ""


def write_card(workdir, recall, version="1700000000"):
    card = workdir.serving / version / "assets.extra" / "mtmh.json"
    card.parent.mkdir(parents=True)
    (card.parents[1] / "saved_model.pb").touch()  # without it there is no version
    document = {"items": 16, "index_recall": recall, "index": {"kind": "brute", "leaves": 3}, "defaults": {"k": 5}}
    card.write_text(json.dumps(document))
    return card


def make_whole(root):
    """The work directory, one title of it hostile, and the page."""
    workdir = make_workdir(root)
    items = checkerboard_items()
    items.titles[3] = HOSTILE
    items.interaction_count[:] = [90, 80, 30, 20, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    manifest = (workdir.examples / "manifest.json").read_text()
    write_examples(
        workdir.examples, items, checkerboard_events(), checkerboard_events(events=40, seed=1), shards=1,
        annotations=[(0, 2, 1.0, True), (0, 9, 0.0, True), (1, 4, 0.5, False)],
    )  # fmt: skip
    document = json.loads((workdir.examples / "manifest.json").read_text())
    document["config"] = json.loads(manifest)["config"]
    account = TableCounts(1000, 900, {"bad_timestamp": 30, "no_item": 10}, {"user_cap": 60}, {})
    document["interactions"] = dataclasses.asdict(account)
    (workdir.examples / "manifest.json").write_text(json.dumps(document))
    assert compare(workdir, "--models", "content,one_head,mtmh")[0] == 0
    write_card(workdir, {"0.0": 0.9991, "0.5": 0.975, "1.0": 1.0})
    status, path, page = report(workdir)
    assert status == 0
    assert path == str(workdir.root / "report.html")
    return workdir, page
