"""Beam's options and runners: faults are the user's in one line, and Ctrl-C is quiet."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from apache_beam.options.pipeline_options import DirectOptions

from preprocessing.errors import UserError
from preprocessing.runner import parse_options, run_pipeline
from tests.preprocessing.shop import shop_interactions, shop_items, write_csv

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["stray"], "unknown Beam option 'stray'"),
        (["--runner=DirectRunner", "stray"], "unknown Beam option 'stray'"),
        (["--direct_num_workers", "2", "3"], "unknown Beam option '3'"),
        (["--direct_runing_mode=x"], "did you mean --direct_running_mode"),
        (["--direct_running_mode=x"], "invalid choice: 'x'"),
        (["--direct_num_workers=x"], "invalid int value: 'x'"),
        (["--direct_num_workers=-3"], "--direct_num_workers is -3; expected 1 or more"),
        (["--runner=DirctRunner"], "no Beam runner 'DirctRunner'; did you mean DirectRunner"),
        (["--runner=Abacus"], "no Beam runner 'Abacus'; known: DataflowRunner"),
        (["--help"], "no help here"),
        (["--runner=PortableRunner", "--job_endpoint=nowhere"], "no Beam job server answers at --job_endpoint=nowhere"),
    ],
)
def test_wrong_options(capfd, arguments, match):
    with pytest.raises(UserError, match=match):
        parse_options(arguments)
    assert capfd.readouterr() == ("", "")


def test_a_job_server_that_is_not_there_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        parse_options(["--runner=portable", f"--job_endpoint=127.0.0.1:{port}"])
    with pytest.raises(UserError, match="start it"):
        parse_options(["--runner=portable", f"--job_endpoint=127.0.0.1:{port}"])


def test_options_with_separate_values_and_of_runners_elsewhere_pass():
    options = parse_options(["--direct_num_workers", "2", "--runner", "directrunner"])
    assert options.view_as(DirectOptions).direct_num_workers == 2
    parse_options(["--runner=FlinkRunner", "--an_option_of_flink=1"])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--runner=PortableRunner"], "the Beam runner PortableRunner failed: .*job_endpoint"),
        (["--runner=DataflowRunner"], "the Beam runner DataflowRunner failed: .*project"),
        (
            ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=BOGUS"],
            "the Beam runner PortableRunner failed: .*BOGUS",
        ),
    ],
)
def test_a_runner_that_fails_is_named(arguments, match):
    import apache_beam as beam

    with pytest.raises(UserError, match=match):
        run_pipeline(lambda pipeline: pipeline | beam.Create([1]), parse_options(arguments))


def test_faults_of_our_own_steps_stay_what_they_are():
    import apache_beam as beam

    with pytest.raises(Exception, match="division by zero"):
        run_pipeline(lambda pipeline: pipeline | beam.Create([0]) | beam.Map(lambda x: 1 / x), parse_options([]))


@pytest.mark.parametrize(
    "beam_args",
    [
        [],
        pytest.param(["--", "--direct_num_workers=2"], marks=pytest.mark.slow),
        pytest.param(
            ["--", "--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["memory", "processes", "portable"],
)
def test_ctrl_c_is_one_line(tmp_path, beam_args):
    rows = [row | {"user_id": f"{row['user_id']} {copy}"} for copy in range(300) for row in shop_interactions()]
    log = write_csv(tmp_path / "log.csv", rows)  # enough that the run is not over before it is interrupted
    items = write_csv(tmp_path / "items.csv", shop_items())
    # What runs in the background of a shell inherits that Ctrl-C is ignored.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from tfx_pipeline.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "preprocess"]
    command += ["--interactions", log, "--items", items, "--workdir", str(tmp_path / "work"), *beam_args]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "items: read" in line:
            break
    os.killpg(process.pid, signal.SIGINT)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed == ""
    assert complaints.splitlines()[-1] == "mtmh: interrupted"
    assert all(" mtmh." in line for line in complaints.splitlines()[:-1])
    assert not (tmp_path / "work/examples").exists()
