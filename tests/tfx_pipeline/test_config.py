"""The configuration: what it admits, how it refuses, that it round-trips and is documented."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from preprocessing.config import PreprocessingConfig
from preprocessing.errors import UserError
from serving.config import ServingConfig
from tfx_pipeline import typed_yaml
from tfx_pipeline.config import MAX_BYTES, README_MARKERS, RunConfig, dump_config, load_config, main, update_reference
from trainer.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[2]
KEYS = typed_yaml.keys_of(RunConfig)


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def refusal(path: str | None, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_without_file_and_overrides_defaults_hold() -> None:
    assert load_config(None) == RunConfig()


def test_every_default_is_a_value_that_the_option_admits() -> None:
    for key in KEYS.values():
        assert key.doc, key.name
        assert (key.default is None and key.optional) or key.admits(key.default), key.name


def test_keys_that_the_design_names_have_its_defaults() -> None:
    expected = {
        "seed": 0,
        "input.session_gap_seconds": None,
        "pairs.window": 5,
        "pairs.max_seconds": None,
        "split.quantile": 0.9,
        "split.time": None,
        "teacher.kind": "lsa",
        "teacher.path": None,
        "features.ids": True,
        "features.text": True,
        "features.categories": True,
        "features.content_vector": True,
        "model.name": "mtmh",
        "retrieval.k": 50,
        "retrieval.relevance_weight": None,
        "retrieval.max_k": 1000,
        "index.kind": "auto",
    }
    assert {name: KEYS[name].default for name in expected} == expected


def test_each_package_gets_its_own_part() -> None:
    config = load_config(
        None, ["seed=7", "pairs.window=3", "features.ids=false", "trainer.epochs=2", "index.kind=tree"]
    )
    assert config.preprocessing == dataclasses.replace(
        PreprocessingConfig(), seed=7, pairs=config.pairs, features=config.features
    )
    assert config.training == dataclasses.replace(
        TrainingConfig(), seed=7, features=config.features, trainer=config.trainer
    )
    assert config.serving == dataclasses.replace(ServingConfig(), seed=7, index=config.index)
    assert (config.pairs.window, config.features.ids, config.trainer.epochs, config.index.kind) == (3, False, 2, "tree")


def test_file_then_overrides(tmp_path: Path) -> None:
    path = write(
        tmp_path, "seed: 3\ninput:\n  columns: {item_id: sku}\n  events: [view, buy]\npairs:\nsplit: {quantile: 1}\n"
    )
    config = load_config(path, ["seed=4", "seed=5", "input.columns.user_id=customer"])
    assert config.seed == 5
    assert dataclasses.astuple(config.input.columns)[:2] == ("customer", "sku")
    assert config.input.events == ("view", "buy")
    assert config.split.quantile == 1.0
    assert isinstance(config.split.quantile, float)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "null", "\ufeffseed: 0\n"])
def test_an_empty_file_means_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, text)) == RunConfig()


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("trainer.learning_rate=1e-3", 0.001),  # YAML 1.1 takes it for a text
        ("split.time=2011-10-01", "2011-10-01"),  # and this for a date
        ("split.time=1318000000", "1318000000"),
        ("split.time=2011-10-01T12:00:00Z", "2011-10-01T12:00:00Z"),
        ("split.time=null", None),
        ("input.columns.event=on", "on"),  # and this for true
        ("input.columns.event=", ""),
        ("input.columns.event='null'", "null"),
        ("input.delimiter=|", "|"),
        ("input.delimiter=,", ","),
        ('input.delimiter="\\t"', "\t"),
        ("teacher.path=a = b: c #1", "a = b: c #1"),
        ("input.events=[]", ()),
        ("input.events=", ()),
        ("input.events=buy", ("buy",)),
        ("input.events=[1, 'true']", ("1", "true")),
        ("input.min_value=-4", -4.0),
        ("input.min_value=~", None),
        ("output.shards= 8 ", 8),
        ("features.text=True", True),
    ],
)
def test_overrides_are_read_by_the_kind_of_the_option(override: str, value: Any) -> None:
    found: Any = load_config(None, [override])
    for name in override.partition("=")[0].split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("pairs.window", ["section.key=value"]),
        ("=3", ["unknown option ``"]),
        ("pairs.windw=3", ["`pairs.windw`", "did you mean `pairs.window`?"]),
        ("window=3", ["did you mean `pairs.window`?"]),
        ("input.colums=3", ["did you mean `input.columns`?"]),
        ("input.colums.title=3", ["did you mean `input.columns.title`?"]),
        ("push.x=3", ["unknown option `push.x`; known: push."]),
        ("index.relevance_weight=1", ["did you mean `retrieval.relevance_weight`?"]),
        ("pairs.zzz=3", ["pairs.window, pairs.train_window, pairs.max_seconds"]),
        ("zzz=3", ["seed, input, pairs"]),
        ("pairs=3", ["`pairs` is a section", "`pairs.window`"]),
        ("pairs.window=five", ["`pairs.window` is 'five'", "a whole number at least 1"]),
        ("pairs.window=5.5", ["a whole number"]),
        ("pairs.window='5'", ["a whole number"]),
        ("pairs.window=true", ["a whole number"]),
        ("pairs.window=0", ["'0'", "at least 1"]),
        ("pairs.window=", ["`pairs.window` is ''"]),
        ("push.protect_versions=[3, -1]", ["a list of whole numbers at least 1"]),
        ("pairs.window=null", ["a whole number"]),
        ("pairs.window=[5]", ["a list or mapping"]),
        ("pairs.window=" + "9" * 5000, ["a whole number"]),
        ("split.quantile=0", ["above 0 and at most 1"]),
        ("split.quantile=1.01", ["at most 1"]),
        ("split.quantile=nan", ["a number"]),
        ("pairs.max_seconds=inf", ["a number"]),
        ("features.ids=yes", ["true or false"]),
        ("features.ids=1", ["true or false"]),
        ("teacher.kind=bert", ["'bert'", "one of lsa, onnx, column"]),
        ("input.events={a: b}", ["a list of texts"]),
        ("input.events=[a, [b]]", ["a list of texts"]),
        ("input.events=[a", ["--set input.events", "not valid YAML"]),
        ("seed=-1", ["at least 0"]),
        ("teacher.kind=onnx", ["`teacher.path`"]),
        ("retrieval.k=2000", ["`retrieval.max_k` = 1000"]),
        ("push.protect_versions=[3, latest]", ["`push.protect_versions`", "a list of whole numbers"]),
        ("push.protect_versions=latest", ["'latest'", "a list of whole numbers"]),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(override: str, fragments: list[str]) -> None:
    message = refusal(None, override)
    for fragment in fragments:
        assert fragment in message


def test_an_encoder_that_sees_nothing_is_refused() -> None:
    groups = ("ids", "text", "categories", "content_vector")
    assert "features" in refusal(None, *(f"features.{group}=false" for group in groups))


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("pairs:\n  window: 5\n  windov: 6\n", ["line 3", "did you mean `pairs.window`?"]),
        ("seed: 1\nseed: 2\n", ["line 2", "`seed` stands twice"]),
        ("pairs: {window: 1}\npairs: {max_seconds: 1}\n", ["line 2", "`pairs` stands twice"]),
        ("pairs: 5\n", ["line 1", "`pairs` holds options", "`window: ...`"]),
        ("- seed\n", ["the configuration holds options"]),
        ("just a text", ["the configuration holds options"]),
        ("pairs:\n  window: [\n", ["not valid YAML", "line 3"]),
        ("seed: 1\n---\nseed: 2\n", ["not valid YAML"]),
        ("? [a]\n: b\n", ["name of an option"]),
        ("seed: \x01\n", ["not valid YAML"]),
        (b"seed: \xff\n", ["not UTF-8", "byte 6"]),
        ("[" * 5000, ["not valid YAML"]),
        ("#" * (MAX_BYTES + 1), ["larger than"]),
        ("pairs: &a\n  max_seconds: *a\n", ["`pairs.max_seconds`", "a number"]),
        ("seed: !!python/object/apply:os.system ['true']\n", ["`seed`", "a whole number"]),
        ("input: {events: &a [x, *b]}\n", ["undefined alias"]),
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, text: str | bytes, fragments: list[str]) -> None:
    path = write(tmp_path, text)
    message = refusal(path)
    for fragment in [path, *fragments]:
        assert fragment in message


def test_aliases_cannot_blow_up(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "unknown option `a0`" in refusal(write(tmp_path, "\n".join(lines)))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "No such file" in refusal(str(tmp_path / "absent.yaml"))
    assert "Is a directory" in refusal(str(tmp_path))


def values(key: typed_yaml.Key) -> st.SearchStrategy[Any]:
    texts = st.text(st.characters(codec="utf-8"), max_size=12)
    plain: st.SearchStrategy[Any]
    if key.choices:
        plain = st.sampled_from(key.choices)
    elif key.kind is bool:
        plain = st.booleans()
    elif key.kind is int:
        plain = st.integers(int(key.minimum or 0) or 1, int(key.maximum or 10**9))
    elif key.kind is float:
        plain = st.floats(key.minimum or 0.0, key.maximum or 1e12).filter(key.admits)
    else:
        numbers = st.integers(None if key.minimum is None else int(key.minimum))
        plain = texts if key.kind is str else st.lists(numbers if key.member is int else texts, max_size=3).map(tuple)
    return plain | st.none() if key.optional else plain


@settings(max_examples=40)
@given(st.fixed_dictionaries({}, optional={name: values(key) for name, key in KEYS.items()}))
def test_dumped_configurations_load_back_equal(
    tmp_path_factory: pytest.TempPathFactory, chosen: dict[str, Any]
) -> None:
    safe = {"retrieval.k": 5, "retrieval.max_k": 10, "features.ids": True, "teacher.kind": "lsa"}
    config = typed_yaml.build(RunConfig, chosen | safe)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_config(config), encoding="utf-8", newline="")
    assert load_config(str(path)) == config


def test_dump_is_stable_and_whole() -> None:
    text = dump_config(RunConfig())
    assert text == dump_config(load_config(None))
    assert [line.split(":")[0] for line in text.splitlines() if line[0] != " "] == [
        field.name for field in dataclasses.fields(RunConfig)
    ]


def test_the_readme_holds_the_current_reference() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if README_MARKERS[0] not in text:
        pytest.skip("README.md has no place for the reference yet")
    assert text == update_reference(text), "run python -m tfx_pipeline.config --update README.md"


def test_update_writes_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{README_MARKERS[0]}\nwhat stood here\n{README_MARKERS[1]}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["config", "--update", str(path)])
    main()
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "what stood here" not in text
    assert all(f"| `{name}` |" in text for name in KEYS)
    assert update_reference(text) == text

    path.write_text("no markers")
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert path.read_text() == "no markers"


def test_imports_nothing_heavy() -> None:
    code = "import sys, tfx_pipeline.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pandas", "tensorflow", "apache_beam", "grpc", "google.protobuf"} & set(loaded.split())
