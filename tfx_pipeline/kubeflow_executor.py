"""What a container of the pipeline runs on Kubeflow: TFX's own executor entry point, with artifacts at hand.

Around ``tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor``, whose arguments it takes, this one

- loads TensorFlow with the Keras that TFX and TFRS are written for,
- tells TFX which classes our artifact types are,
- copies artifacts from and to stores that TensorFlow itself cannot read (``s3://``, ``minio://``): an executor sees
  local directories, so that every component works with every store.

Where Beam runs on a cluster (Dataflow, Flink, Spark), its workers could not see what is local here. Then Preprocess,
the one step that reads the whole log, works on the store itself, which Beam reads and writes; the others see a sample
of the pairs and the catalogue, and run in their container.
"""

import argparse
import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from preprocessing.files import is_local
from serving.stores.trees import get_tree, put_tree

COMMAND: Final = ("python", "-m", "tfx_pipeline.kubeflow_executor")
LOCAL_RUNNERS: Final = ("DirectRunner", "FnApiRunner", "fn_runner.FnApiRunner", "BundleBasedDirectRunner")
_COPIED: Final = ("s3://", "minio://")
_ON_THE_STORE: Final = ("tfx_pipeline.components.preprocess.Executor",)

logger = logging.getLogger("mtmh.kubeflow")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one executor; returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="python -m tfx_pipeline.kubeflow_executor")
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="")
    arguments, beam_args = parser.parse_known_args(argv)
    try:
        run_executor(arguments, beam_args)
    except UserError as error:
        print(f"mtmh: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def run_executor(arguments: argparse.Namespace, beam_args: list[str]) -> None:
    """Runs the executor that the arguments name.

    Args:
      arguments: TFX's own: class path, and what Kubeflow puts in the place of ``{{$}}``.
      beam_args: of an executor on Beam.

    Raises:
      UserError: the input, the configuration or the store is at fault.
    """
    from preprocessing.backend import tf  # noqa: F401 before TFX imports TensorFlow in a flavour of its own

    # isort: split
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    from tfx_pipeline import bucket_filesystem
    from tfx_pipeline.artifacts import register_titles

    bucket_filesystem.register()
    register_titles()
    document = json.loads(arguments.json_serialized_invocation_args)
    remote = not _runs_here(beam_args)
    if remote and arguments.executor_class_path in _ON_THE_STORE:
        kubeflow_v2_run_executor.main((arguments, beam_args))
        return
    with local_artifacts(document) as copied:
        if copied and remote:
            logger.info("Beam runs in this container: its workers could not see the copies of the artifacts")
            beam_args = []
        arguments.json_serialized_invocation_args = json.dumps(document)
        kubeflow_v2_run_executor.main((arguments, beam_args))


@contextlib.contextmanager
def local_artifacts(document: dict[str, Any]) -> Iterator[bool]:
    """Copies inputs to local directories, and outputs from there when the block ends without an exception.

    Args:
      document: an ``ExecutorInput`` as JSON has it; the URIs in it are replaced by local ones.

    Yields:
      Whether there was anything to copy.
    """
    inputs, outputs = ({**document.get(side, {}).get("artifacts", {})} for side in ("inputs", "outputs"))
    result = document.get("outputs", {}).get("outputFile", "")
    with tempfile.TemporaryDirectory(prefix="mtmh-") as scratch:
        places = {}
        for side, channels in (("in", inputs), ("out", outputs)):
            for key, channel in channels.items():
                for number, artifact in enumerate(channel.get("artifacts", ())):
                    uri = str(artifact.get("uri", ""))
                    if not uri.startswith(_COPIED):
                        if side == "out" and is_local(uri):
                            Path(uri).mkdir(parents=True, exist_ok=True)
                        continue
                    place = Path(scratch) / side / key / str(number)
                    place.mkdir(parents=True)
                    if side == "in":
                        get_tree(uri, place)
                    else:
                        places[uri] = place
                    artifact["uri"] = str(place)
        yield bool(places) or any(Path(scratch).iterdir())
        for uri, place in places.items():
            put_tree(place, uri)
        if places and result:
            _name_remote(result, {str(place): uri for uri, place in places.items()})


def _name_remote(result: str, uris: dict[str, str]) -> None:
    """Puts the stores' URIs into the file in which TFX tells Kubeflow of the outputs."""
    from tfx.dsl.io import fileio

    with fileio.open(result, "rb") as stream:
        document = json.loads(stream.read())
    for channel in document.get("artifacts", {}).values():
        for artifact in channel.get("artifacts", ()):
            artifact["uri"] = uris.get(artifact.get("uri", ""), artifact.get("uri", ""))
    with fileio.open(result, "wb") as stream:
        stream.write(json.dumps(document, indent=1).encode("utf-8"))


def _runs_here(beam_args: Sequence[str]) -> bool:
    """Whether Beam's workers are in this container; an embedded job server's are."""
    runner = next((argument.partition("=")[2] for argument in beam_args if argument.startswith("--runner=")), "")
    embedded = "--job_endpoint=embed" in beam_args
    return not runner or embedded or runner.rpartition(".")[2] in LOCAL_RUNNERS


if __name__ == "__main__":
    sys.exit(main())
