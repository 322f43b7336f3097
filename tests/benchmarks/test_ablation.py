"""Which finished rows of an ablation are kept."""

from benchmarks import ablation
from tfx_pipeline.config import load_config
from tfx_pipeline.workdir import Workdir


def test_rows_belong_to_examples_options_and_code(tmp_path, monkeypatch):
    workdir, config = Workdir(tmp_path), load_config(None, [])
    workdir.examples.mkdir()
    manifest = workdir.examples / "manifest.json"
    manifest.write_text("{}")
    finished = ablation._identity(workdir, config)
    assert ablation._identity(Workdir(tmp_path), load_config(None, [])) == finished
    assert ablation._identity(workdir, load_config(None, ["loss.align=0"])) != finished
    with monkeypatch.context() as patch:
        patch.setattr(ablation, "trainer_version", lambda: "another")
        assert ablation._identity(workdir, config) != finished
    manifest.write_text('{"version": 2}')
    assert ablation._identity(workdir, config) != finished
