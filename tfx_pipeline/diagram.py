"""The DAG as a picture, drawn from the pipeline itself.

``python -m tfx_pipeline.diagram --update docs/pipeline.md`` renews the picture between the page's markers.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

MARKERS: Final = ("<!-- dag -->", "<!-- /dag -->")
_STYLES: Final = {
    "gate": "fill:#fde2c8,stroke:#b45f06",
    "import": "fill:#e8e8e8,stroke:#777",
}
_GATES: Final = ("DataGate", "RetrievalEvaluator", "ServingValidator", "InfraValidator")
_IMPORTS: Final = ("Importer", "CuratedSchema")


def sample_pipeline() -> Any:
    """The pipeline with nothing but defaults."""
    from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own
    from tfx_pipeline.config import RunConfig
    from tfx_pipeline.pipeline import Settings, create_pipeline

    parameters = (
        "root interactions items annotations fingerprint data_baseline model_baseline destination store "
        "data_identity model_identity training_identity"
    )
    words: dict[str, Any] = {name: name for name in parameters.split()}
    return create_pipeline(Settings(config=RunConfig(), **words))


def edges(pipeline: Any) -> Iterator[tuple[str, str, str]]:
    """Producer, consumer and channel of every edge; the channel is "" where one only waits for the other."""
    for component in pipeline.components:
        producers = set()
        for channel in component.inputs.values():
            producers.add(channel.producer_component_id)
            yield channel.producer_component_id, component.id, channel.output_key
        for upstream in component.upstream_nodes:
            if upstream.id not in producers:
                yield upstream.id, component.id, ""


def mermaid(pipeline: Any) -> str:
    """The DAG as a Mermaid flowchart."""
    lines = ["flowchart TD"]
    for component in pipeline.components:
        left, right = ("([", "])") if type(component).__name__ in _IMPORTS else ("[", "]")
        lines.append(f"  {component.id}{left}{component.id}{right}{_style(component)}")
    grouped: dict[tuple[str, str], list[str]] = {}
    for producer, consumer, channel in edges(pipeline):
        grouped.setdefault((producer, consumer), []).append(channel)
    for (producer, consumer), channels in sorted(grouped.items()):
        names = ", ".join(sorted(channel.replace("_", " ") for channel in channels))
        lines.append(f"  {producer} -->|{names}| {consumer}" if names else f"  {producer} -.-> {consumer}")
    lines += [f"  classDef {name} {style}" for name, style in _STYLES.items()]
    return "\n".join(lines) + "\n"


def _style(component: Any) -> str:
    kind = type(component).__name__
    if kind in _GATES:
        return ":::gate"
    return ":::import" if kind in _IMPORTS else ""


def update_picture(text: str, picture: str) -> str:
    """A page's text with the picture between its markers renewed.

    Raises:
      ValueError: the markers are missing.
    """
    start, end = MARKERS
    before, found_start, rest = text.partition(start)
    _, found_end, after = rest.partition(end)
    if not (found_start and found_end):
        raise ValueError(f"no {start} followed by {end}: put both where the picture belongs")
    return f"{before}{start}\n```mermaid\n{picture}```\n{end}{after}"


def main() -> None:
    """Prints the picture, or renews it in a page."""
    parser = argparse.ArgumentParser(prog="python -m tfx_pipeline.diagram", description=main.__doc__)
    parser.add_argument("--update", metavar="PAGE", type=Path, help="renew the picture between this file's markers")
    page: Path | None = parser.parse_args().update
    picture = mermaid(sample_pipeline())
    if page is None:
        print(picture, end="")
    else:
        page.write_text(update_picture(page.read_text(encoding="utf-8"), picture), encoding="utf-8")


if __name__ == "__main__":
    main()
