"""CuratedSchema: a schema that people keep under version control, imported as an artifact.

Its text is a parameter, so that a changed schema changes the cache key, and a compiled pipeline carries it.
"""

from typing import Any, ClassVar, Final

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from tfx_pipeline.components.files import Artifacts, writable
from tfx_pipeline.components.parameters import output_channels

SCHEMA_FILE: Final = "schema.pbtxt"


class CuratedSchemaSpec(ComponentSpec):
    """``text`` is a Schema message in text format."""

    PARAMETERS: ClassVar[dict[str, Any]] = {"text": ExecutionParameter(type=str)}
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS: ClassVar[dict[str, Any]] = {"schema": ChannelParameter(type=standard_artifacts.Schema)}


class Executor(BaseExecutor):
    """Writes the text where TFX's components look for a schema."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Checks and writes the schema."""
        from tfx_pipeline.schema import parse_schema

        parse_schema(exec_properties["text"], "the curated schema")
        with writable(output_dict, "schema") as place:
            (place / SCHEMA_FILE).write_text(exec_properties["text"], encoding="utf-8")


class CuratedSchema(BaseComponent):
    """Imports a schema; output ``schema``."""

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, text: str) -> None:
        """Takes the schema's text."""
        super().__init__(CuratedSchemaSpec(text=text, **output_channels(CuratedSchemaSpec)))
