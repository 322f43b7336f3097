"""Blessings as TFX's Pusher knows them: an empty file that says which, and a property; and the reasons beside it."""

from typing import Final

from tfx.types.artifact import Artifact

from tfx_pipeline.components.files import Artifacts, only, writable
from tfx_pipeline.verdict import Verdict

_PROPERTY: Final = "blessed"
_FILES: Final = {
    "ModelBlessing": {True: "BLESSED", False: "NOT_BLESSED"},
    "InfraBlessing": {True: "INFRA_BLESSED", False: "INFRA_NOT_BLESSED"},
}


def write_blessing(output_dict: Artifacts, key: str, verdict: Verdict) -> None:
    """Marks an output blessing, and keeps the verdict with it."""
    artifact = only(output_dict, key)
    # ModelBlessing has a number there, InfraBlessing a word: so do TFX's own components.
    if artifact.type_name == "ModelBlessing":
        artifact.set_int_custom_property(_PROPERTY, int(verdict.passed))
    else:
        artifact.set_string_custom_property("blessing_status", _FILES[artifact.type_name][verdict.passed])
    with writable(output_dict, key) as place:
        (place / _FILES[artifact.type_name][verdict.passed]).touch()
        verdict.save(place)


def is_blessed(artifact: Artifact) -> bool:
    """Whether a ModelBlessing or an InfraBlessing blesses."""
    if artifact.type_name == "ModelBlessing":
        return bool(artifact.get_int_custom_property(_PROPERTY))
    return str(artifact.get_string_custom_property("blessing_status")) == "INFRA_BLESSED"
