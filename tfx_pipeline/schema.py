"""The curated schemas of items and of pairs: reading them, and what data say that differs.

Importing this module imports nothing heavy; TensorFlow Data Validation comes with what is inferred.
"""

from pathlib import Path
from typing import Any, Final

from preprocessing.config import DataGateConfig
from preprocessing.errors import UserError

ITEMS: Final = "items"
PAIRS: Final = "pairs"
BRANCHES: Final = (ITEMS, PAIRS)
_CURATED: Final = Path(__file__).with_name("schemas")


def schema_text(branch: str, config: DataGateConfig) -> str:
    """The text of a branch's curated schema: the user's, or the package's own.

    Raises:
      UserError: it cannot be read.
    """
    own = {ITEMS: config.schema_items, PAIRS: config.schema_pairs}[branch]
    path = Path(own) if own else _CURATED / f"{branch}.pbtxt"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the schema {path}: {error}; name another as data_gate.schema_{branch}") from None


def parse_schema(text: str, name: str) -> Any:
    """A Schema message from its text.

    Raises:
      UserError: the text is no schema.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    try:
        return text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise UserError(f"{name} is no Schema message in text format: {error}") from None
