"""Writes the Kubernetes manifests for a model: image by flavour, memory by its card, versions and labels.

    python -m serving.deploy.render --card D/serving/mtmh/3/assets.extra/mtmh.json --stable 3 --canary 4 --output out
    kubectl apply --filename out

What a canary changes is the ConfigMap alone, so that no pod restarts for it.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from preprocessing.errors import UserError
from serving.deploy.sizing import Size
from serving.flavours import SCANN, STOCK, base_of
from serving.version_manifest import version_number

MANIFESTS: Final = Path(__file__).with_name("kubernetes")
STOCK_IMAGE: Final = "tensorflow/serving:2.16.1"
_STABLE, _CANARY = "stable", "canary"
_CPUS: Final = re.compile(r"[0-9]+(\.[0-9]{1,3})?|[0-9]+m")
_ROOM: Final = 2
"""Versions that a pod has memory for at least: so a canary, or the next version, needs no other pods."""


@dataclasses.dataclass(frozen=True)
class Versions:
    """What TF Serving holds.

    Attributes:
        stable: the version under the label ``stable``.
        canary: the version under the label ``canary``; None without.
        held: further versions that stay in memory under no label: what a label has just left.
    """

    stable: int
    canary: int | None = None
    held: tuple[int, ...] = ()

    @property
    def labels(self) -> dict[str, int]:
        """Version by label."""
        return {_STABLE: self.stable, **({} if self.canary is None else {_CANARY: self.canary})}

    @property
    def numbers(self) -> list[int]:
        """All of them.

        Raises:
            UserError: one is no version.
        """
        numbers = sorted({*self.labels.values(), *self.held})
        for number in numbers:
            if version_number(str(number)) is None:
                raise UserError(f"version {number}: expected a number from 0, below 2 ** 63 - 1")
        return numbers


def manifests(directory: Path = MANIFESTS) -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and document of every manifest."""
    for file in sorted(directory.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            yield file.name, document


def model_config(flavour: str, versions: Versions) -> str:
    """TF Serving's ``ModelServerConfig`` in its text form: one model ``mtmh``, whatever its flavour."""
    numbers = " ".join(f"versions: {number}" for number in versions.numbers)
    lines = [
        'name: "mtmh"',
        f'base_path: "/models/{base_of(flavour, "mtmh")}"',
        'model_platform: "tensorflow"',
        f"model_version_policy {{ specific {{ {numbers} }} }}",
        *(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in versions.labels.items()),
    ]
    inside = "".join(f"    {line}\n" for line in lines)
    return f"model_config_list {{\n  config {{\n{inside}  }}\n}}\n"


def render(size: Size, image: str, versions: Versions, cpus: str = "2") -> list[tuple[str, dict[str, Any]]]:
    """The manifests for a model, as `manifests` gives them.

    Args:
        size: of the model.
        image: of TF Serving; the `SCANN` flavour needs one with ScaNN's op.
        versions: what it holds.
        cpus: requested for a pod.

    Raises:
        UserError: the image cannot serve the flavour, a version is no version, or the CPUs are no quantity.
    """
    if not _CPUS.fullmatch(cpus) or not cpus.strip("0.m"):
        raise UserError(f"--cpus {cpus}: expected processors, such as 2, 1.5 or 500m")
    if size.flavour == SCANN and image.startswith("tensorflow/serving"):
        raise UserError(
            f"{image} has no ScaNN op: build serving/deploy/tf_serving_scann and name it by --image, or serve the "
            f"`{STOCK}` flavour"
        )
    memory = f"{size.pod_bytes(max(_ROOM, len(versions.numbers))) >> 20}Mi"
    rendered = list(manifests())
    for _, document in rendered:
        if document["kind"] == "ConfigMap":
            document["data"]["models.config"] = model_config(size.flavour, versions)
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            for container in (*pod["initContainers"], *pod["containers"]):
                container["image"] = image
            pod["containers"][0]["resources"] = {
                "requests": {"cpu": cpus, "memory": memory},
                "limits": {"memory": memory},
            }
    return rendered


def write(rendered: Sequence[tuple[str, dict[str, Any]]], output: Path) -> None:
    """Writes the manifests, a file for each of the originals.

    Raises:
        UserError: they cannot be written there.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name in sorted({name for name, _ in rendered}):
            documents = [document for each, document in rendered if each == name]
            text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True)
            (output / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written to: {error}; name another directory with --output") from error


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.deploy.render", description="Writes the Kubernetes manifests for a model."
    )
    parser.add_argument("--card", type=Path, required=True, help="assets.extra/mtmh.json of the version to serve")
    parser.add_argument("--stable", type=int, required=True, metavar="VERSION", help="the version labelled stable")
    parser.add_argument("--canary", type=int, metavar="VERSION", help="the version labelled canary")
    parser.add_argument(
        "--hold", type=int, action="append", default=[], metavar="VERSION", help="one more to keep loaded; repeatable"
    )
    parser.add_argument("--image", default=STOCK_IMAGE, help="TF Serving's image (%(default)s)")
    parser.add_argument("--cpus", default="2", help="CPUs requested for a pod (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="directory of the manifests")
    return parser


def _read_card(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a model card: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command; gives the exit code."""
    arguments = _arguments().parse_args(argv)
    try:
        size = Size.of(_read_card(arguments.card))
        versions = Versions(arguments.stable, arguments.canary, tuple(arguments.hold))
        write(render(size, arguments.image, versions, arguments.cpus), arguments.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.output}: kubectl apply --filename {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
