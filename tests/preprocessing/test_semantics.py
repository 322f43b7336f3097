import numpy as np
import pytest

from preprocessing.catalogue import Item
from preprocessing.config import TeacherConfig
from preprocessing.errors import UserError
from preprocessing.onnx_encoder import OnnxEncoder
from preprocessing.semantics import column_encoder, fit_lsa, fit_sample, item_text, normalised


def item(title="", description="", categories=(), embedding=None):
    return Item(title or "x", title, description, tuple(categories), embedding)


@pytest.mark.parametrize(
    ("given", "with_categories", "text"),
    [
        (item("Red Mug", "a mug"), False, "Red Mug. a mug"),
        (item("Red Mug", "red mug"), False, "Red Mug"),
        (item("Red Mug", "Red mug with a handle"), False, "Red mug with a handle"),
        (item("", "a mug"), False, "a mug"),
        (item("Red Mug", "", ["Kitchen", "Mugs"]), True, "Red Mug. Kitchen, Mugs"),
        (item("Red Mug", "", ["Kitchen"]), False, "Red Mug"),
        (item(), True, ""),
    ],
)
def test_text(given, with_categories, text):
    assert item_text(given, with_categories=with_categories) == text


def test_similar_texts_are_near_and_empty_ones_are_zero():
    items = [item("red coffee mug"), item("blue coffee mug"), item("garden hose"), item("long garden hose"), item("")]
    encoder = fit_lsa(items, TeacherConfig(dimension=3), 0, with_categories=True)
    vectors = encoder.encode(items)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 1, 0], abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]


def test_lsa_is_the_same_every_time_and_in_any_batch():
    items = [item(f"thing {i % 7} of kind {i % 5} number {i}") for i in range(60)]
    one = fit_lsa(items, TeacherConfig(dimension=8), 3, with_categories=True)
    two = fit_lsa(items, TeacherConfig(dimension=8), 3, with_categories=True)
    whole = one.encode(items)
    assert whole.tobytes() == two.encode(items).tobytes()
    assert whole.tobytes() == b"".join(two.encode(items[i : i + 7]).tobytes() for i in range(0, 60, 7))


@pytest.mark.parametrize(
    "titles",
    [
        ["one"],
        ["one", "two"],
        ["same", "same", "same"],
        ["a b c"],
        ["", "word"],
        ["a b", "a b", "c"],
        ["!!", "?? !!"],
        ["蓝色的杯子", "红色的杯子"],
    ],
)
def test_tiny_catalogues(titles):
    items = [item(title) for title in titles]
    vectors = fit_lsa(items, TeacherConfig(), 0, with_categories=True).encode(items)
    assert np.isfinite(vectors).all()
    norms = np.linalg.norm(vectors, axis=1)
    assert all(norm == pytest.approx(1 if title else 0, abs=1e-5) for norm, title in zip(norms, titles, strict=True))


def test_words_of_every_script_are_whole():
    items = [item(title) for title in ("हिन्दी किताब", "cafe\u0301 a_b", "\u2764\ufe0f 3")]
    words = fit_lsa(items, TeacherConfig(), 0, with_categories=True)._vectorizers[0]
    assert set(words.vocabulary_) == {"हिन्दी", "किताब", "cafe\u0301", "a_b", "3"}


def test_no_text_at_all():
    with pytest.raises(UserError, match="no item has a title or a description"):
        fit_lsa([item(""), item("")], TeacherConfig(), 0, with_categories=True)


def test_sample_is_spread_over_the_catalogue():
    assert fit_sample(5).tolist() == [0, 1, 2, 3, 4]
    large = fit_sample(1_000_000)
    assert len(large) == 200_000
    assert (np.diff(large) == 5).all()


def test_columns():
    with pytest.raises(UserError, match=r"input\.columns\.embedding"):
        column_encoder([item("a")])
    items = [item("a"), item("b", embedding=np.array([0, 2], np.float32))]
    assert column_encoder(items).encode(items).tolist() == [[0, 0], [0, 1]]


def test_normalising():
    assert normalised(np.array([[3e30, 4e30], [0, 0], [1e-30, 0]])).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)],
        [0, 0],
        [0, 0],
    ]


def test_a_sentence_encoder(shared_data):
    config = TeacherConfig(kind="onnx", path=str(shared_data / "models/minilm"))
    encoder = OnnxEncoder(config, with_categories=True)
    items = [item("red coffee mug"), item("blue tea cup"), item("garden hose"), item(""), item("red coffee mug")]
    vectors = encoder.encode(items)
    assert vectors.shape == (5, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1, 0, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert vectors.tobytes() == b"".join(encoder.encode([each]).tobytes() for each in items)
    assert encoder.encode([item("word " * 5000)]).any()


def test_what_is_no_sentence_encoder(tmp_path, shared_data):
    config = TeacherConfig(kind="onnx", path=str(tmp_path))
    for name in ("model.onnx", "tokenizer.json"):
        with pytest.raises(UserError, match=f"{name} does not exist"):
            OnnxEncoder(config, with_categories=True)
        (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not a model"):
        OnnxEncoder(config, with_categories=True)
    (tmp_path / "model.onnx").write_bytes((shared_data / "models/minilm/model.onnx").read_bytes())
    with pytest.raises(UserError, match="not a tokenizer"):
        OnnxEncoder(config, with_categories=True)
