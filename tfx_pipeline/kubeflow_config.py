"""Options of the pipeline on Kubeflow: image, resources, retries, caching, secrets by reference, Beam's engine."""

import dataclasses
import os
import re
import string
from pathlib import Path
from typing import Any, Final

import yaml

from preprocessing.errors import UserError
from preprocessing.options import option

_MEMORY: Final = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>[MGT])i?")
_UNITS: Final = {"M": 1e-3, "G": 1.0, "T": 1e3}
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET: Final = re.compile(
    r"(?P<variable>[A-Za-z_]\w*)=(?P<secret>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/(?P<key>[-._a-zA-Z0-9]+)"
)


@dataclasses.dataclass(frozen=True)
class KubeflowConfig:
    """What a cluster has to know beyond the pipeline itself."""

    image: str = option("mtmh:latest", "the image of all steps, made by the Dockerfile")
    pipeline_root: str = option(
        "s3://mlpipeline/mtmh",
        "where artifacts go: s3:// (MinIO too), minio://, gs:// or a directory that all steps mount",
    )
    cpu: float = option(2.0, "most processors of a step", above=0)
    memory: str = option("8G", "most memory of a step, such as 8G")
    trainer_cpu: float = option(8.0, "most processors of the trainer", above=0)
    trainer_memory: str = option("32G", "most memory of the trainer")
    trainer_gpus: int = option(0, "GPUs of the trainer; 0 trains on processors", minimum=0)
    trainer_gpu_type: str = option("nvidia.com/gpu", "the resource that a GPU is to the cluster")
    retries: int = option(2, "how often a step that failed is tried again", minimum=0)
    retry_seconds: int = option(60, "wait before the first retry; it doubles up to an hour", minimum=0)
    cache: bool = option(True, "take over the outputs of an earlier run's step with the same inputs")
    environment: tuple[str, ...] = option((), "NAME=value for every step, such as AWS_ENDPOINT_URL=http://minio:9000")
    secrets: tuple[str, ...] = option(
        (), "NAME=secret/key for every step: a variable whose value stays in a Kubernetes secret"
    )
    beam_options: str = option(
        "", "a YAML file with Beam's options, such as configs/beam/dataflow.yaml; none: local Beam"
    )


@dataclasses.dataclass(frozen=True)
class SecretVariable:
    """An environment variable whose value is one key of a Kubernetes secret."""

    variable: str
    secret: str
    key: str


def gigabytes(memory: str, name: str) -> float:
    """``8G`` as a number.

    Raises:
      UserError: it is no amount of memory.
    """
    match = _MEMORY.fullmatch(memory)
    if not match:
        raise UserError(f"`kubeflow.{name}` is {memory!r}; expected a number with M, G or T, such as 8G")
    return float(match["number"]) * _UNITS[match["unit"]]


def environment(config: KubeflowConfig) -> dict[str, str]:
    """Variables by name.

    Raises:
      UserError: an entry is no NAME=value.
    """
    found = {}
    for entry in config.environment:
        name, equals, value = entry.partition("=")
        if not (equals and _VARIABLE.fullmatch(name)):
            raise UserError(f"`kubeflow.environment` holds {entry!r}; expected NAME=value")
        found[name] = value
    return found


def secrets(config: KubeflowConfig) -> list[SecretVariable]:
    """Variables that come from secrets.

    Raises:
      UserError: an entry is no NAME=secret/key. The entry is not shown: it may be the secret itself.
    """
    found = []
    for number, entry in enumerate(config.secrets, 1):
        match = _SECRET.fullmatch(entry)
        if not match:
            raise UserError(
                f"entry {number} of `kubeflow.secrets` is no NAME=secret/key, a Kubernetes secret and a key in it; "
                "a secret's value belongs into the cluster, not here"
            )
        found.append(SecretVariable(match["variable"], match["secret"], match["key"]))
    return found


def beam_options(path: str) -> tuple[str, ...]:
    """Beam's options of a YAML file; ``${NAME}`` is taken from the environment.

    Raises:
      UserError: the file cannot be read, is no list of options, or names a variable that is not set.
    """
    if not path:
        return ()
    try:
        document: Any = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read `kubeflow.beam_options` {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is no YAML ({' '.join(str(error).split())}); expected a list of Beam's options"
        ) from None
    if not isinstance(document, list) or not all(isinstance(each, str) and each.startswith("--") for each in document):
        raise UserError(f"{path} is no list of Beam's options; expected lines such as `- --runner=DataflowRunner`")
    try:
        return tuple(string.Template(each).substitute(os.environ) for each in document)
    except KeyError as error:
        raise UserError(f"{path} asks for the environment variable {error.args[0]}, which is not set: set it") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; a dollar sign stands as $$") from None
