"""What a gate says: passed, or refused for reasons; kept as JSON in the gate's artifact."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError

FILE: Final = "verdict.json"
_SHOWN: Final = 3


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A gate's judgement.

    Attributes:
      gate: the component.
      subject: what it judged, in words.
      reasons: why it refuses, a line each; none where it passes.
      figures: what it measured.
    """

    gate: str
    subject: str
    reasons: tuple[str, ...]
    figures: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether there is no reason to refuse."""
        return not self.reasons

    def summary(self) -> str:
        """One line: who refuses what, and the first reasons."""
        if self.passed:
            return f"{self.gate} passes {self.subject}"
        more = len(self.reasons) - _SHOWN
        shown = "; ".join(self.reasons[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        return f"{self.gate} refuses {self.subject}: {shown}"

    def require(self) -> None:
        """Raises `UserError` with the summary where the gate refuses."""
        if not self.passed:
            raise UserError(self.summary())

    def save(self, directory: Path) -> None:
        """Writes ``verdict.json`` below a directory."""
        document = dataclasses.asdict(self) | {"passed": self.passed}
        (directory / FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_verdict(directory: Path) -> Verdict:
    """Reads what `Verdict.save` has written; raises ``OSError``, ``ValueError`` or ``KeyError``."""
    document = json.loads((directory / FILE).read_text(encoding="utf-8"))
    return Verdict(document["gate"], document["subject"], tuple(document["reasons"]), document["figures"])
