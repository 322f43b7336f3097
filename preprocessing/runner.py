# mypy: allow-untyped-calls
"""Runs a Beam pipeline on any runner, with our progress in the log and without Beam's own chatter."""

import argparse
import contextlib
import difflib
import io
import logging
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.portability.api import beam_fn_api_pb2, beam_provision_api_pb2
from google.protobuf import text_format

from preprocessing.errors import UserError

_LOCAL_RUNNERS: Final = ("directrunner", "direct", "fnapirunner", "switchingdirectrunner", "bundlebaseddirectrunner")
_EMBEDDED: Final = "embed"
_CONNECT_SECONDS: Final = 10.0
_LOGGER: Final = logging.getLogger("mtmh.preprocessing")
_LEVELS: Final = {
    beam_fn_api_pb2.LogEntry.Severity.INFO: logging.INFO,
    beam_fn_api_pb2.LogEntry.Severity.WARN: logging.WARNING,
}


def parse_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Checks and parses Beam's pipeline options.

    Raises:
      UserError: an option has a value that it cannot have, or is unknown, or the runner cannot be reached. Options for
        a runner elsewhere are not known here: they are left to that runner.
    """
    if {"-h", "--help"} & set(beam_args):
        raise UserError("Beam's pipeline options have no help here; they are in Beam's documentation of the runner")
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints), _quiet():
            options = PipelineOptions(list(beam_args))
            parsers: list[argparse.ArgumentParser] = []
            known = options.get_all_options(add_extra_args_fn=parsers.append)
            unknown = parsers[0].parse_known_args(list(beam_args))[1]
    except SystemExit as error:
        lines = complaints.getvalue().strip().splitlines()
        reason = lines[-1].rpartition("error: ")[2] if lines else "not understood"
        raise UserError(f"Beam option: {reason}") from error
    _check_runner(options)
    if unknown and _runs_here(options):
        name = unknown[0].lstrip("-").partition("=")[0]
        close = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"; did you mean --{close[0]}?" if close else "; see Beam's pipeline options"
        raise UserError(f"unknown Beam option {name!r}{hint}")
    options.view_as(SetupOptions).save_main_session = False
    FileSystems.set_options(options)  # inputs are looked for before there is a pipeline
    return options


def run_pipeline(build: Callable[[beam.Pipeline], Any], options: PipelineOptions) -> None:
    """Builds and runs a pipeline to its end, in a thread of its own.

    Ctrl-C reaches the calling thread alone, not Beam, which would take it for a fault of a step. Whoever calls has to
    end the process then.

    Raises:
      UserError: a runner of the user's choice failed.
      RuntimeError: the run failed.
    """
    if threading.current_thread() is not threading.main_thread():
        _run(build, options)
        return
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            _run(build, options)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    # Threads inherit the signals that their creator blocks.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    thread.join()
    if ended[0] is not None:
        raise ended[0]


def _run(build: Callable[[beam.Pipeline], Any], options: PipelineOptions) -> None:
    try:
        with _quiet(), _worker_progress():
            pipeline = beam.Pipeline(runner=_runner(options), options=options)
            build(pipeline)
            state = pipeline.run().wait_until_finish()
    except Exception as error:
        if _is_beams_own(options):
            raise
        name = options.view_as(StandardOptions).runner
        message = " ".join(str(error).split())[:500] or type(error).__name__
        raise UserError(f"the Beam runner {name} failed: {message}; check the options after `--`") from error
    if state is not None and str(state) != "DONE":
        raise RuntimeError(f"the Beam pipeline ended in state {state}")


def _check_runner(options: PipelineOptions) -> None:
    """Checks what Beam would take for a fault of the program, or wait for without end."""
    name = options.view_as(StandardOptions).runner or ""
    known = {runner.lower(): runner for runner in StandardOptions.KNOWN_RUNNER_NAMES}
    if name and "." not in name and not {name.lower(), f"{name.lower()}runner"} & set(known):
        close = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {known[close[0]]}?" if close else f"known: {', '.join(known.values())}"
        raise UserError(f"there is no Beam runner {name!r}; {hint}")
    workers = options.view_as(DirectOptions).direct_num_workers
    if workers < 0:
        raise UserError(f"Beam option: --direct_num_workers is {workers}; expected 1 or more, or 0 for all processors")
    endpoint = options.view_as(PortableOptions).job_endpoint
    if _runner_name(options) in ("portablerunner", "portable") and endpoint and endpoint != _EMBEDDED:
        host, _, port = endpoint.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        except (OSError, ValueError, OverflowError) as error:
            raise UserError(
                f"no Beam job server answers at --job_endpoint={endpoint}: {error}; "
                "start it, or correct host:port, or use --job_endpoint=embed"
            ) from error


def _runner_name(options: PipelineOptions) -> str:
    return (options.view_as(StandardOptions).runner or "").rsplit(".", 1)[-1].lower()


def _is_beams_own(options: PipelineOptions) -> bool:
    """Whether the runner is Beam's in-process one, whose faults are ours."""
    name = _runner_name(options)
    return not name or name in _LOCAL_RUNNERS


def _runs_here(options: PipelineOptions) -> bool:
    return _is_beams_own(options) or options.view_as(PortableOptions).job_endpoint == _EMBEDDED


def _runner(options: PipelineOptions) -> Any:
    """For Beam's default its in-process runner, otherwise ``None``: Beam takes what the options say.

    Beam's default would first try Prism, which downloads a program.
    """
    if not _is_beams_own(options):
        return None
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle
    from apache_beam.transforms.environments import SubprocessSDKEnvironment

    direct = options.view_as(DirectOptions)
    processes = direct.direct_running_mode == "multi_processing"
    processes |= direct.direct_running_mode == "in_memory" and direct.direct_num_workers != 1
    if processes:
        # The mode would put Beam's own command in the place of ours.
        direct.direct_running_mode = "in_memory"
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    return fn_runner.FnApiRunner(
        default_environment=SubprocessSDKEnvironment.from_command_string(_worker_command()) if processes else None,
        provision_info=fn_runner.ExtendedProvisionInfo(beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)),
    )


def _worker_command() -> str:
    """Starts a worker process, for the shell: without Ctrl-C, which ends the launcher, and in the shell's place."""
    return f"trap '' INT; exec {shlex.quote(sys.executable)} -m apache_beam.runners.worker.sdk_worker_main"


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
