"""Options of a cluster's pipeline, and what is said of those that are none."""

from pathlib import Path

import pytest

from preprocessing.errors import UserError
from tfx_pipeline import kubeflow_config, kubeflow_executor, kubeflow_runner
from tfx_pipeline.kubeflow_config import KubeflowConfig


@pytest.mark.parametrize("engine", ["local", "dataflow", "flink", "spark"])
def test_beam_options(engine, monkeypatch):
    path = Path(__file__).resolve().parents[3] / "configs" / "beam" / f"{engine}.yaml"
    for name in ("GCP_PROJECT", "GCP_REGION", "GCP_BUCKET", "GCP_SERVICE_ACCOUNT", "MTMH_IMAGE"):
        monkeypatch.setenv(name, "value")
    for name in ("FLINK_JOB_SERVER", "SPARK_JOB_SERVER"):
        monkeypatch.setenv(name, "host")
    found = kubeflow_config.beam_options(str(path))
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions(list(found), display_data={})
    assert options.get_all_options(drop_default=True, retain_unknown_options=False).keys() >= {"runner"}
    assert {word.partition("=")[0].removeprefix("--") for word in found} <= set(options.get_all_options())
    assert kubeflow_executor._runs_here(found) is (engine == "local")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- --runner=${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE, which is not set"),
        ("runner: x", "no list of Beam's options"),
        ("- runner", "no list of Beam's options"),
        ("- [", "no YAML"),
        ("- --a=$", r"stands as \$\$"),
    ],
)
def test_beam_options_that_are_none(tmp_path, content, words):
    path = tmp_path / "beam.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        kubeflow_config.beam_options(str(path))
    with pytest.raises(UserError, match="cannot read"):
        kubeflow_config.beam_options(str(tmp_path / "none"))


def test_secrets_are_references():
    with pytest.raises(UserError, match=r"entry 2 of `kubeflow\.secrets`") as error:
        kubeflow_config.secrets(KubeflowConfig(secrets=("A=secret/key", "PASSWORD=hunter2")))
    assert "hunter2" not in str(error.value)
    with pytest.raises(UserError, match="NAME=value"):
        kubeflow_config.environment(KubeflowConfig(environment=("no name",)))
    assert kubeflow_config.gigabytes("512M", "memory") == pytest.approx(0.512)
    with pytest.raises(UserError, match=r"kubeflow\.memory.*8G"):
        kubeflow_config.gigabytes("lots", "memory")


def test_mistakes_are_one_line(tmp_path, capsys):
    target = str(tmp_path / "x.yaml")
    for arguments, words in (
        (["--set", "kubeflow.imag=x"], "kubeflow.image"),
        (["--parameter", "lambda=1"], "relevance"),
        (["--parameter", "epochs=many"], "int"),
        (["--parameter", "epochs=0"], "expected a whole number at least 1"),
        (["--parameter", "relevance=nan"], "expected a number at least 0"),
        (["--parameter", "learning_rate=-1"], "expected a number above 0"),
        (["--set", "validator.tf_serving_image=tensorflow/serving:2.16.1"], "InfraValidator"),
    ):
        assert kubeflow_runner.main(["--output", target, *arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("mtmh: error: ")
        assert len(said.splitlines()) == 1
        assert words in said
    assert not Path(target).exists()
