"""Preprocess: from a log and a catalogue to Examples of items and of pairs, on Beam."""

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar, Final

from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import standard_artifacts
from tfx.types.artifact_utils import encode_split_names
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from preprocessing.config import PreprocessingConfig
from preprocessing.files import is_local
from preprocessing.schema import DEAD_LETTERS, ITEMS, MANIFEST
from tfx_pipeline.artifacts import (
    DEAD_ROWS,
    ITEMS_SPLIT,
    LAYOUT_VERSION,
    PAIRS_SPLIT,
    CoEngagementExamples,
    DeadLetters,
    ExamplesManifest,
)
from tfx_pipeline.components.files import Artifacts, link_tree, only, readable, writable
from tfx_pipeline.components.parameters import from_json, output_channels, paths_from_text

UNFINISHED: Final = "unfinished"
"""Beside the outputs of the component: what is being written, and the dead letters of a run that failed."""


class PreprocessSpec(ComponentSpec):
    """Paths are a JSON list, or one path or glob as it is."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "interactions": ExecutionParameter(type=str),
        "items": ExecutionParameter(type=str),
        "annotations": ExecutionParameter(type=str),
        "fingerprint": ExecutionParameter(type=str),
        "config": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "examples": ChannelParameter(type=CoEngagementExamples),
        "items_examples": ChannelParameter(type=standard_artifacts.Examples),
        "pairs_examples": ChannelParameter(type=standard_artifacts.Examples),
        "manifest": ChannelParameter(type=ExamplesManifest),
        "dead_letters": ChannelParameter(type=DeadLetters),
    }


class Executor(BaseBeamExecutor):
    """Wraps `preprocessing.pipeline.preprocess`."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Writes the examples, and the views of them that TFX's own components read."""
        from preprocessing.pairs_view import write_pairs_view
        from preprocessing.pipeline import preprocess
        from preprocessing.sources import INTERACTIONS, find_sources, spans_of

        examples = only(output_dict, "examples")
        uri = str(examples.uri)
        # A failed run leaves its dead letters at a place that TFX doesn't clear.
        output = os.path.join(uri.rsplit("/", 2)[0], UNFINISHED) if is_local(uri) else uri
        if is_local(uri):
            shutil.rmtree(output, ignore_errors=True)
        config = from_json(PreprocessingConfig, exec_properties["config"])
        interactions = paths_from_text(exec_properties["interactions"])
        spans = spans_of(find_sources(INTERACTIONS, interactions, config.input))
        manifest = preprocess(
            config,
            interactions,
            paths_from_text(exec_properties["items"]),
            output,
            self._beam_pipeline_args,
            annotations=paths_from_text(exec_properties["annotations"]),
        )
        if is_local(uri):
            os.rmdir(uri)
            os.rename(output, uri)
        examples.set_int_custom_property(LAYOUT_VERSION, manifest.layout_version)
        tables = (manifest.interactions, manifest.items, manifest.annotations)
        dead = sum(sum(table.dead_letters.values()) for table in tables)
        only(output_dict, "dead_letters").set_int_custom_property(DEAD_ROWS, dead)
        with readable(output_dict, "examples") as directory:
            _copy_views(directory, output_dict)
            with writable(output_dict, "pairs_examples") as place:
                write_pairs_view(str(directory), str(place / f"Split-{PAIRS_SPLIT}"))
        for key, split in (("items_examples", ITEMS_SPLIT), ("pairs_examples", PAIRS_SPLIT)):
            artifact = only(output_dict, key)
            artifact.split_names = encode_split_names([split])
            if spans:  # as ExampleGen marks what it makes: by the newest
                artifact.span, artifact.version = spans[-1].number, spans[-1].version or 0


def _copy_views(directory: Path, output_dict: Artifacts) -> None:
    """Parts of the examples under the names and types that others look for."""
    with writable(output_dict, "items_examples") as place:
        link_tree(directory / ITEMS, place / f"Split-{ITEMS_SPLIT}")
    with writable(output_dict, "manifest") as place:
        shutil.copy2(directory / MANIFEST, place / MANIFEST)
    with writable(output_dict, "dead_letters") as place:
        if (directory / DEAD_LETTERS).is_dir():
            link_tree(directory / DEAD_LETTERS, place)


class Preprocess(BaseBeamComponent):
    """From the user's tables to Examples.

    Outputs: ``examples``, all of `preprocessing.schema`; ``items_examples``, a tf.Example an item; ``pairs_examples``,
    a sample of the pairs, a tf.Example each; ``manifest``; ``dead_letters``.
    """

    SPEC_CLASS = PreprocessSpec
    EXECUTOR_SPEC = BeamExecutorSpec(Executor)

    def __init__(
        self, *, interactions: Any, items: Any, annotations: Any, fingerprint: Any, config: str, code: str
    ) -> None:
        """Takes parameters; the first four may be RuntimeParameters."""
        super().__init__(
            PreprocessSpec(
                interactions=interactions,
                items=items,
                annotations=annotations,
                fingerprint=fingerprint,
                config=config,
                code=code,
                **output_channels(PreprocessSpec),
            )
        )
