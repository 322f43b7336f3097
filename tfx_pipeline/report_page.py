"""The report as one HTML page that needs nothing else: no script, no network, pictures within."""

import re
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined

from tfx_pipeline.comparison_sheets import comparison_sheets, headline_sentences, summary
from tfx_pipeline.figures import frontier_svg
from tfx_pipeline.report import Report
from tfx_pipeline.report_curves import curves_sheet, curves_svg
from trainer import slices

TEMPLATE: Final = "report.html.j2"
_SLICES: Final = {
    slices.HEAD: "the most engaged items",
    slices.TORSO: "items of middling engagement",
    slices.TAIL: "rarely engaged items",
    slices.COLD: "items that the training never saw anybody engage with",
}


def render(report: Report) -> str:
    """The page; everything that is not ours, titles above all, is escaped."""
    source = (resources.files("tfx_pipeline") / "templates" / TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    comparison = report.comparison
    curves = [
        (history.label, apart(curves_svg(history), f"c{place}-")) for place, history in enumerate(report.histories)
    ]
    page = environment.from_string(source).render(
        report=report,
        sheets=comparison_sheets(comparison) if comparison else {},
        summary=summary(comparison) if comparison else "",
        sentences=headline_sentences(comparison) if comparison else (),
        frontier=apart(frontier_svg(comparison), "f-") if comparison else "",
        curves=curves,
        curves_sheet=curves_sheet(report.histories),
        slice_names=_SLICES,
    )
    return page.strip() + "\n"


def apart(svg: str, prefix: str) -> str:
    """An ``<svg>`` whose ids are its own among others in a page, and without the metadata that names web addresses."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r'(\bid="|url\(#|href="#)', lambda found: found.group(1) + prefix, svg)
