# mypy: allow-untyped-calls
"""Runs a Beam pipeline on any runner, with our progress in the log and without Beam's own chatter."""

import contextlib
import difflib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions, StandardOptions
from apache_beam.portability.api import beam_fn_api_pb2, beam_provision_api_pb2
from google.protobuf import text_format

from preprocessing.errors import UserError

_LOCAL_RUNNERS: Final = ("directrunner", "direct", "fnapirunner", "switchingdirectrunner", "bundlebaseddirectrunner")
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")
_LEVELS: Final = {
    beam_fn_api_pb2.LogEntry.Severity.INFO: logging.INFO,
    beam_fn_api_pb2.LogEntry.Severity.WARN: logging.WARNING,
}


def parse_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Checks and parses Beam's pipeline options.

    Raises:
      UserError: an option has a value that it cannot have, or is unknown. Options for a runner elsewhere are not
        known here: they are left to that runner.
    """
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints), _quiet():
            options = PipelineOptions(list(beam_args))
            known = set(options.get_all_options())
            given = set(options.get_all_options(retain_unknown_options=True))
    except SystemExit as error:
        lines = complaints.getvalue().strip().splitlines()
        reason = lines[-1].rpartition("error: ")[2] if lines else "not understood"
        raise UserError(f"Beam option: {reason}") from error
    stray = [argument for argument in beam_args[:1] if not argument.startswith("-")]
    unknown = sorted(given - known)
    if (unknown or stray) and _runs_here(options, beam_args):
        name = unknown[0] if unknown else stray[0]
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"; did you mean --{close[0]}?" if close else "; see Beam's pipeline options"
        raise UserError(f"unknown Beam option {name!r}{hint}")
    options.view_as(SetupOptions).save_main_session = False
    return options


def run_pipeline(build: Callable[[beam.Pipeline], Any], options: PipelineOptions) -> None:
    """Builds and runs a pipeline to its end.

    Raises:
      RuntimeError: the run failed.
    """
    with _quiet(), _worker_progress():
        pipeline = beam.Pipeline(runner=_runner(options), options=options)
        build(pipeline)
        state = pipeline.run().wait_until_finish()
    if state is not None and str(state) != "DONE":
        raise RuntimeError(f"the Beam pipeline ended in state {state}")


def _runner_name(options: PipelineOptions) -> str:
    return (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1].lower()


def _runs_here(options: PipelineOptions, beam_args: Sequence[str]) -> bool:
    name = _runner_name(options)
    return not name or name in _LOCAL_RUNNERS or "--job_endpoint=embed" in beam_args


def _runner(options: PipelineOptions) -> Any:
    """For Beam's default its in-process runner, otherwise ``None``: Beam takes what the options say.

    Beam's default would first try Prism, which downloads a program.
    """
    name = _runner_name(options)
    if name and name not in _LOCAL_RUNNERS:
        return None
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    direct = options.view_as(DirectOptions)
    if direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_processing"
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    return fn_runner.FnApiRunner(
        provision_info=fn_runner.ExtendedProvisionInfo(beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded))
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Beam's own log down to what is fatal: what matters of an error is raised."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _worker_progress() -> Iterator[None]:
    """Passes our own log lines on from worker processes, which Beam hands over as text of its own logger."""
    logger = logging.getLogger("apache_beam.runners.portability.local_job_service")
    level = logger.level
    relay = _Relay()
    logger.addFilter(relay)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeFilter(relay)


class _Relay(logging.Filter):
    """Takes every record of a logger, and logs again those that carry an entry of this package's workers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Relays a record; it never goes further itself."""
        if record.msg == "Worker: %s" and isinstance(record.args, tuple) and record.args:
            entry = beam_fn_api_pb2.LogEntry()
            try:
                text_format.Parse(str(record.args[0]), entry)
            except text_format.ParseError:
                return False
            if "/preprocessing/" in entry.log_location and entry.severity in _LEVELS:
                _LOGGER.log(_LEVELS[entry.severity], "%s", entry.message)
        return False
