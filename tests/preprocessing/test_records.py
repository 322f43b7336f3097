import numpy as np
import pytest

from preprocessing.errors import UserError
from preprocessing.records import DecodedExample, read_records, write_records
from preprocessing.schema import CATEGORIES, CONTENT_VECTOR, ITEM_ID, ITEM_INDEX, RECENT_COUNT, TARGET, WEIGHT
from preprocessing.wire import encode_example, varints


def example(i):
    return encode_example(
        [
            (ITEM_INDEX, [i]),
            (ITEM_ID, [f"é{i}".encode()]),
            (CATEGORIES, [b"x"] * (i % 3)),
            (CONTENT_VECTOR, [0.5 * i, -1.0]),
        ]
    )


def test_round_trip(tmp_path):
    file = write_records(str(tmp_path), "a/b.tfrecord.gz", [example(i) for i in range(1000)])
    again = write_records(str(tmp_path), "a/c.tfrecord.gz", [example(i) for i in range(1000)])
    assert file.sha256 == again.sha256
    assert file.bytes == (tmp_path / "a/b.tfrecord.gz").stat().st_size
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b.tfrecord.gz", "c.tfrecord.gz"]
    records = [DecodedExample(record) for record in read_records(str(tmp_path / "a/b.tfrecord.gz"))]
    assert [record.scalar(ITEM_INDEX) for record in records] == list(range(1000))
    assert records[2].values(CATEGORIES) == [b"x", b"x"]
    assert records[3].array(CONTENT_VECTOR).tolist() == [1.5, -1.0]
    with pytest.raises(ValueError, match="weight is missing"):
        records[0].array(WEIGHT)
    with pytest.raises(ValueError, match="2 values"):
        records[0].scalar(CONTENT_VECTOR)


@pytest.mark.parametrize("counts", [[], [4], [4, 5], [4, 5, 6, 7]])
def test_an_array_of_another_length_is_not_stretched(counts):
    """NumPy would spread a single value over all three."""
    assert DecodedExample(encode_example([(RECENT_COUNT, [4, 5, 6])])).array(RECENT_COUNT).tolist() == [4, 5, 6]
    with pytest.raises(ValueError, match=f"recent_count has {len(counts)} values instead of 3"):
        DecodedExample(encode_example([(RECENT_COUNT, counts)])).array(RECENT_COUNT)


def test_tensorflow_reads_the_files(tmp_path):
    tf = pytest.importorskip("tensorflow")
    write_records(str(tmp_path), "x.tfrecord.gz", [example(i) for i in range(5)])
    dataset = tf.data.TFRecordDataset(str(tmp_path / "x.tfrecord.gz"), compression_type="GZIP")
    parsed = [
        tf.io.parse_single_example(
            record,
            {
                "item_index": tf.io.FixedLenFeature([], tf.int64),
                "item_id": tf.io.FixedLenFeature([], tf.string),
                "categories": tf.io.VarLenFeature(tf.string),
                "content_vector": tf.io.FixedLenFeature([2], tf.float32),
            },
        )
        for record in dataset
    ]
    assert [int(row["item_index"]) for row in parsed] == list(range(5))
    assert parsed[4]["item_id"].numpy() == "é4".encode()
    assert parsed[4]["content_vector"].numpy().tolist() == [2.0, -1.0]
    assert parsed[2]["categories"].values.numpy().tolist() == [b"x", b"x"]


def test_bytes_are_those_of_protocol_buffers():
    tf = pytest.importorskip("tensorflow")
    numbers = [0, 1, 127, 128, 16383, 16384, 2**31 - 1, 2**31, 2**63 - 1, -1, -(2**63)]
    for integers in (numbers, numbers[:3], numbers[:6], numbers[:7], [5], []):
        for texts in ([b"", b"x" * 127, b"y" * 128, "é".encode() * 10_000], []):
            floats = np.array([0.1, -0.0, 1e-40, np.inf], np.float32)[: len(integers)]
            mine = encode_example(
                [
                    (TARGET, np.array(integers, np.int64)),
                    (CATEGORIES, texts),
                    (ITEM_INDEX, integers),
                    (CONTENT_VECTOR, floats),
                    (WEIGHT, floats.tolist()),
                ]
            )
            features = tf.train.Features(
                feature={
                    TARGET.name: tf.train.Feature(int64_list=tf.train.Int64List(value=integers)),
                    CATEGORIES.name: tf.train.Feature(bytes_list=tf.train.BytesList(value=texts)),
                    ITEM_INDEX.name: tf.train.Feature(int64_list=tf.train.Int64List(value=integers)),
                    CONTENT_VECTOR.name: tf.train.Feature(float_list=tf.train.FloatList(value=floats)),
                    WEIGHT.name: tf.train.Feature(float_list=tf.train.FloatList(value=floats)),
                }
            )
            assert mine == tf.train.Example(features=features).SerializeToString(deterministic=True)
    assert varints(np.zeros(0, np.int64)) == b""


def test_our_messages_do_not_clash_with_tensorflows(tmp_path):
    tf = pytest.importorskip("tensorflow")
    theirs = tf.train.Example.FromString(example(7))
    assert theirs.features.feature["item_index"].int64_list.value[:] == [7]
    assert DecodedExample(theirs.SerializeToString()).scalar(ITEM_INDEX) == 7


def test_large_columns(tmp_path):
    column = np.arange(100_000)
    write_records(str(tmp_path), "x.tfrecord.gz", [encode_example([(TARGET, column)])])
    (record,) = read_records(str(tmp_path / "x.tfrecord.gz"))
    assert (DecodedExample(record).array(TARGET) == column).all()


@pytest.mark.parametrize("damage", ["cut", "flipped", "added", "plain", "missing"])
def test_damage_is_noticed(tmp_path, damage):
    write_records(str(tmp_path), "x.tfrecord.gz", [example(i) for i in range(100)])
    path = tmp_path / "x.tfrecord.gz"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-20]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "added":
        data += b"more"
    elif damage == "plain":
        data = bytearray(b"text")
    path.write_bytes(bytes(data))
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match=r"x\.tfrecord\.gz"):
        list(read_records(str(path)))


def test_a_failed_write_leaves_nothing(tmp_path):
    def records():
        yield b"one"
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_records(str(tmp_path), "x.tfrecord.gz", records())
    assert list(tmp_path.iterdir()) == []
