"""Blessings as TFX's Pusher knows them: an empty file that says which, and a property; and the reasons beside it."""

from pathlib import Path
from typing import Final

from tfx.types.artifact import Artifact

from tfx_pipeline.components.files import Artifacts, only, writable
from tfx_pipeline.verdict import FILE, Verdict, load_verdict

_PROPERTY: Final = "blessed"
_FILES: Final = {
    "ModelBlessing": {True: "BLESSED", False: "NOT_BLESSED"},
    "InfraBlessing": {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"},
}


def write_blessing(output_dict: Artifacts, key: str, verdict: Verdict) -> None:
    """Marks an output blessing, and keeps the verdict with it."""
    artifact = only(output_dict, key)
    artifact.set_int_custom_property(_PROPERTY, int(verdict.passed))
    with writable(output_dict, key) as place:
        (place / _FILES[artifact.type_name][verdict.passed]).touch()
        verdict.save(place)


def is_blessed(artifact: Artifact) -> bool:
    """Whether a ModelBlessing or an InfraBlessing blesses."""
    return bool(artifact.get_int_custom_property(_PROPERTY))


def verdict_of(gate: str, artifact: Artifact) -> Verdict:
    """What a gate says in its blessing; TFX's InfraValidator gives no reasons."""
    place = Path(artifact.uri)
    if (place / FILE).is_file():
        return load_verdict(place)
    refusal = "its server did not load it; why is in pipeline/libraries.log, or in the output of Docker"
    return Verdict(gate, "the version", () if is_blessed(artifact) else (refusal,), {})
