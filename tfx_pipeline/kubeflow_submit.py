"""Starts runs of a compiled pipeline on a cluster: one now, or one by schedule."""

import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from preprocessing.errors import UserError
from tfx_pipeline.kubeflow_config import KubeflowConfig

TOKEN: Final = "KFP_TOKEN"  # noqa: S105 the variable's name
"""The environment variable with a bearer token, where the cluster asks for one."""
NAME: Final = "mtmh"
_CRON_FIELDS: Final = 6
_LONGEST_CAUSE: Final = 200
_OBJECT: Final = re.compile(r"<[^<>]* object at 0x[0-9a-f]+>(: )?")


def submit(
    package: Path, host: str, cluster: KubeflowConfig, arguments: Mapping[str, Any], experiment: str | None = None
) -> str:
    """Starts a run.

    Args:
      package: what `tfx_pipeline.kubeflow_runner.compile_pipeline` gave, as a file.
      host: of the Kubeflow Pipelines API, such as ``http://localhost:8888``.
      cluster: whose pipeline root is used.
      arguments: runtime parameters that differ from their defaults.
      experiment: the experiment that the run belongs to.

    Returns:
      The run's id.

    Raises:
      UserError: the cluster cannot be reached or refuses.
    """
    with _client(host) as client:
        run = client.create_run_from_pipeline_package(
            str(package),
            arguments=dict(arguments),
            experiment_name=experiment,
            pipeline_root=cluster.pipeline_root,
        )
    return str(run.run_id)


def schedule(
    package: Path, host: str, cluster: KubeflowConfig, arguments: Mapping[str, Any], cron: str, experiment: str | None
) -> str:
    """Makes a recurring run: one at a time, for a push replaces what the next run is compared and begun with.

    A time that was missed is not made up for: the next run reads all spans that are there by then. Without caching: the
    cache would see the same parameters every night, and neither new spans nor new contents; and Kubeflow Pipelines v2
    leaves macros such as ``[[ScheduledTime]]`` in parameters as they are (kubeflow/pipelines#12494).

    Args:
      package: as `submit`.
      host: likewise.
      cluster: likewise.
      arguments: likewise.
      cron: when, in six fields from seconds to days of the week, such as ``0 0 3 * * *``.
      experiment: the experiment that the runs belong to.

    Returns:
      The recurring run's id.

    Raises:
      UserError: as `submit`, or ``cron`` has other than six fields.
    """
    if len(cron.split()) != _CRON_FIELDS:
        raise UserError(
            f"--schedule {cron!r}: expected six fields (second, minute, hour, day, month, day of the week), such as "
            "'0 0 3 * * *' for every night at three"
        )
    with _client(host) as client:
        made = client.create_recurring_run(
            experiment_id=client.create_experiment(experiment or NAME).experiment_id,
            job_name=NAME,
            cron_expression=cron,
            pipeline_package_path=str(package),
            params=dict(arguments),
            pipeline_root=cluster.pipeline_root,
            max_concurrency=1,
            no_catchup=True,
            enable_caching=False,
        )
    return str(made.recurring_run_id)


@contextlib.contextmanager
def _client(host: str) -> Iterator[Any]:
    """The API's client; its failures are told in one line."""
    with warnings.catch_warnings(), _without_retries_told():
        warnings.simplefilter("ignore")
        import kfp
        import kfp_server_api
        import urllib3

        try:
            yield kfp.Client(host=host, existing_token=os.environ.get(TOKEN))
        except kfp_server_api.ApiException as error:
            raise UserError(
                f"{host} refuses the pipeline ({error.status} {error.reason}); check --submit, and the token in {TOKEN}"
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UserError(
                f"{host} does not answer as Kubeflow Pipelines ({_cause(error)}); check --submit"
            ) from error


@contextlib.contextmanager
def _without_retries_told() -> Iterator[None]:
    """Keeps urllib3's lines on each try to itself: the last one's failure is told."""
    library = logging.getLogger("urllib3.connectionpool")
    before = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(before)


def _cause(error: Exception) -> str:
    """What went wrong at last, without the objects of the client that it happened to."""
    words = " ".join(str(getattr(error, "reason", None) or error).split())
    return _OBJECT.sub("", words)[:_LONGEST_CAUSE]
