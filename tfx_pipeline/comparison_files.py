"""What a comparison leaves on disk: JSON, CSV, Markdown, picture, web page, TensorBoard."""

import csv
import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from preprocessing.errors import UserError
from preprocessing.files import replacing
from tfx_pipeline.comparison_sheets import comparison_sheets, headline_sentences, summary
from tfx_pipeline.figures import frontier_png, frontier_svg
from tfx_pipeline.sheets import markdown
from tfx_pipeline.workdir import write_whole
from trainer import metrics, slices
from trainer.bootstrap import Estimate
from trainer.comparison import Comparison, from_json, to_json
from trainer.names import ONE_HEAD

FILES: Final = {
    "json": "comparison.json",
    "csv": "comparison.csv",
    "headline": "headline.csv",
    "markdown": "comparison.md",
    "picture": "frontier.png",
    "page": "frontier.html",
}
"""Names of the files by what they are."""

_TITLE: Final = "Recall and relevance, side by side"
_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e6e6e6; }
th { border-bottom: 2px solid #888; vertical-align: bottom; } .word { text-align: left; }
tbody tr:hover { background: #f3f8fc; }
.note { color: #666; font-size: .85rem; max-width: 60rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="note">{{ summary }}.</p>
{% if sentences %}<ul>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ul>{% endif %}
<figure role="img" aria-label="Recall against relevance and against topic match, for every model along its dial">
{{ svg | safe }}
</figure>
{% for sheet in sheets %}
<section>
<h2>{{ sheet.title }}</h2>
<div class="wide"><table>
<thead><tr>{% for title in sheet.header -%}
<th scope="col"{% if loop.index0 < sheet.words %} class="word"{% endif %}>{{ title }}</th>
{%- endfor %}</tr></thead>
<tbody>
{% for row in sheet.rows -%}
<tr>{% for cell in row -%}
<td{% if loop.index0 < sheet.words %} class="word"{% endif %}>{{ cell }}</td>
{%- endfor %}</tr>
{% endfor -%}
</tbody>
</table></div>
{% if sheet.notes %}<p class="note">{{ sheet.notes | join("; ") }}.</p>{% endif %}
</section>
{% endfor %}
</body>
</html>
"""


def write_comparison(directory: Path, comparison: Comparison) -> Comparison:
    """Writes all files of a comparison, the JSON that names them last.

    Returns:
      The comparison as it is in that JSON.
    """
    comparison = dataclasses.replace(comparison, files=dict(FILES))
    texts = {
        "csv": _csv(comparison),
        "headline": _headline_csv(comparison),
        "markdown": _markdown(comparison),
        "page": _page(comparison),
    }
    for what, text in texts.items():
        write_whole(directory / FILES[what], text)
    with replacing(str(directory / FILES["picture"])) as stream:
        stream.write(frontier_png(comparison))
    write_whole(directory / FILES["json"], to_json(comparison))
    return comparison


def read_comparison(directory: Path) -> Comparison:
    """What `write_comparison` left.

    Raises:
      UserError: it is missing or damaged.
    """
    path = directory / FILES["json"]
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; run `mtmh compare` first") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is damaged; run `mtmh compare` again") from None
    return from_json(text, str(path))


def write_tensorboard(logs: Path, comparison: Comparison) -> None:
    """Writes a run for each model, its metrics by 100 times the dial, and one with the picture of the frontier."""
    from preprocessing.backend import tf

    shutil.rmtree(logs, ignore_errors=True)
    for model in comparison.models:
        writer = tf.summary.create_file_writer(str(logs / model.name))
        with writer.as_default():
            for point in model.points:
                for part, name, estimate in _figures(point.metrics, point.slices):
                    if estimate.value is not None:
                        tag = f"{part}/{name}@{comparison.k}"
                        tf.summary.scalar(f"by_dial/{tag}", estimate.value, step=round(100 * point.relevance_weight))
        writer.close()
    writer = tf.summary.create_file_writer(str(logs / "frontier"))
    with writer.as_default():
        picture = tf.io.decode_png(frontier_png(comparison, dots_per_inch=100), channels=3)
        tf.summary.image("frontier", picture[tf.newaxis], step=0)
    writer.close()


def _figures(
    of_all: dict[str, Estimate], by_slice: dict[str, dict[str, Estimate]]
) -> Iterator[tuple[str, str, Estimate]]:
    for part, figures in {slices.ALL: of_all, **by_slice}.items():
        for name, estimate in figures.items():
            yield part, name, estimate


def _csv(comparison: Comparison) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["model", "relevance_weight", "slice", "metric", "value", "low", "high"])
    for model in comparison.models:
        for point in model.points:
            for part, name, found in _figures(point.metrics, point.slices):
                row = [f"{name}@{comparison.k}", *_numbers(found)]
                writer.writerow([model.name, f"{point.relevance_weight:g}", part, *row])
            if graded := point.annotation_ndcg:
                row = [metrics.ANNOTATION_NDCG, *_numbers(graded)]
                writer.writerow([model.name, f"{point.relevance_weight:g}", slices.ALL, *row])
    return stream.getvalue()


def _headline_csv(comparison: Comparison) -> str:
    """What one model has over another: paired, so that it does not follow from the models' own figures."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["what", "model", "over", "at", "relevance_weight", "metric", "value", "low", "high"])
    subject = comparison.subject or ""
    for gain in comparison.gains:
        for name, found in gain.percent.items():
            place = [gain.over, gain.at, _number(gain.relevance_weight)]
            writer.writerow(["gain, percent", subject, *place, f"{name}@{comparison.k}", *_numbers(found)])
    for gap in comparison.gaps:
        for name, found in gap.share.items():
            place = [gap.over, f"{gap.recall_kept:g} of its recall", _number(gap.relevance_weight.value)]
            writer.writerow(["gap closed, share", subject, *place, f"{name}@{comparison.k}", *_numbers(found)])
    for model in comparison.models:
        for axis, found in model.area.items():
            writer.writerow(["area", model.name, "", "", "", f"{axis}@{comparison.k}", *_numbers(found)])
    for lead in comparison.areas:
        row = ["area gain, percent", subject, lead.over, "", "", f"{lead.axis}@{comparison.k}"]
        writer.writerow([*row, *_numbers(lead.percent)])
    for floor in comparison.floors:
        place = [ONE_HEAD, "", _number(floor.relevance_weight)]
        row = ["difference", subject, *place, f"{floor.metric}@{comparison.k}"]
        writer.writerow([*row, *_numbers(floor.difference)])
    return stream.getvalue()


def _numbers(found: Estimate) -> list[str]:
    return [_number(value) for value in (found.value, found.low, found.high)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _markdown(comparison: Comparison) -> str:
    sentences = "".join(f"- {sentence}\n" for sentence in headline_sentences(comparison))
    picture = f"![recall against relevance]({FILES['picture']})"
    parts = [
        f"# {_TITLE}",
        f"{summary(comparison)}.",
        sentences.rstrip(),
        picture,
        markdown(list(comparison_sheets(comparison).values())),
    ]
    return "\n\n".join(part for part in parts if part)


def _page(comparison: Comparison) -> str:
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    return (
        template.render(
            title=_TITLE,
            summary=summary(comparison),
            sentences=headline_sentences(comparison),
            svg=frontier_svg(comparison),
            sheets=comparison_sheets(comparison).values(),
        )
        + "\n"
    )
