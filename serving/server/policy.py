"""Which of the versions that there are shall answer, and under which labels: what TF Serving's model config says."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc

from serving import wire
from serving.server.errors import RequestError, invalid, unimplemented


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """TF Serving's ``ServableVersionPolicy``.

    Attributes:
        latest: how many of the highest versions answer.
        every: all that there are, whatever ``latest`` says.
        specific: these and no others, whatever ``latest`` says.
    """

    latest: int = 1
    every: bool = False
    specific: frozenset[int] | None = None


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Policy and labels of the one model."""

    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)


def read_reload_request(request: Any, name: str, base: Path) -> ModelSettings:
    """What a ``wire.ReloadConfigRequest`` asks for.

    Args:
        request: for the server of one model.
        name: the model's name.
        base: its directory.

    Raises:
        RequestError: INVALID_ARGUMENT or UNIMPLEMENTED: it is for other models than the one that is served, moves it,
            or asks for versions that there cannot be.
    """
    if not request.HasField("config") or not request.config.HasField("model_config_list"):
        raise invalid("ReloadConfigRequest must have a model_config_list")
    configs = request.config.model_config_list.config
    if len(configs) != 1 or configs[0].name != name:
        raise unimplemented(
            f"the embedded server serves the one model {name}: the list must hold a config of it and no other, it "
            f"holds {', '.join(each.name for each in configs) or 'none'}"
        )
    (config,) = configs
    if config.model_platform not in ("", "tensorflow"):
        raise invalid(f"model_platform {config.model_platform[:80]} is not served: expected tensorflow")
    if config.base_path and os.path.realpath(config.base_path) != os.path.realpath(base):
        raise unimplemented(f"base_path {config.base_path[:200]}: the embedded server cannot move {name} from {base}")
    return ModelSettings(_policy(config.model_version_policy), dict(config.version_labels))


def _policy(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(every=True)
    if choice == "specific":
        versions = frozenset(message.specific.versions)
        if not versions or min(versions) < 0:
            raise invalid("model_version_policy specific must name versions, numbers from 0")
        return VersionPolicy(specific=versions)
    if choice == "latest" and message.latest.num_versions < 0:
        raise invalid("model_version_policy latest: num_versions is too large")
    # As in TF Serving, 0 is what a message says that does not say a number.
    return VersionPolicy(latest=message.latest.num_versions or 1)


def refuse_unavailable(name: str, version: int) -> RequestError:
    """The refusal of a label for a version that does not answer."""
    return RequestError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Request to assign label to version {version} of model {name}, which is not currently available for inference",
    )


def reload_response() -> Any:
    """The answer to a reload that was taken."""
    response = wire.ReloadConfigResponse()
    response.status.error_code = 0
    return response
