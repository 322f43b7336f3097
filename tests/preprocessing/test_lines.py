import gzip

import pytest

from preprocessing import lines
from preprocessing.lines import LineBlock, read_lines
from preprocessing.rows import FileFault


def read(path):
    """(line number, text, fault) of every line, and the file's fault."""
    found, fault = [], None
    for block in read_lines(str(path)):
        if isinstance(block, FileFault):
            fault = block.reason
        elif block.fault:
            found.append((block.first, block.data, block.fault))
        else:
            found.extend((block.first + i, line, "") for i, line in enumerate(block.data.split(b"\n")))
    return found, fault


@pytest.mark.parametrize("block_bytes", [2, 3, 7, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_do_not_depend_on_blocks(tmp_path, monkeypatch, block_bytes, packed):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    data = "\ufeffa,b\n1,ä\n\nlast".encode()
    path = tmp_path / ("x.csv.gz" if packed else "x.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    expected = [b"a,b", "1,ä".encode(), b"", b"last"]
    assert read(path) == ([(i + 1, line, "") for i, line in enumerate(expected)], None)


@pytest.mark.parametrize("block_bytes", [5, 64, 1 << 20])
def test_long_lines_are_cut_and_the_next_line_is_found(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 20)
    monkeypatch.setattr(lines, "RAW_BYTES", 4)
    path = tmp_path / "x.csv"
    path.write_bytes(b"one\n" + b"x" * 50 + b"\nthree\n" + b"y" * 30)
    assert read(path)[0] == [
        (1, b"one", ""),
        (2, b"xxxx", "line_too_long"),
        (3, b"three", ""),
        (4, b"yyyy", "line_too_long"),
    ]


def test_truncated_gzip_gives_what_is_there_and_marks_the_cut_line(tmp_path):
    path = tmp_path / "x.csv.gz"
    text = "".join(f"row {i} {i * i}\n" for i in range(5000)).encode()
    path.write_bytes(gzip.compress(text)[:-3000])
    found, fault = read(path)
    assert fault == "truncated_gzip"
    assert found[-1][2] == "truncated_gzip"
    assert b"\n".join(line for _, line, _ in found) == text[: len(b"\n".join(line for _, line, _ in found))]
    assert len(found) > 1000


def test_corrupt_gzip_gives_the_rows_before_the_fault(tmp_path):
    path = tmp_path / "x.csv.gz"
    packed = bytearray(gzip.compress(b"".join(b"row %d\n" % (i * 7919 % 10007) for i in range(20000))))
    packed[len(packed) // 2] ^= 0xFF
    path.write_bytes(bytes(packed))
    found, fault = read(path)
    assert fault == "corrupt_gzip"
    assert len(found) > 1000


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("x.csv", b"", "empty_file"),
        ("x.csv.gz", b"", "empty_file"),
        ("x.csv.gz", gzip.compress(b"", mtime=0), "empty_file"),
        ("x.csv.gz", b"user_id,item_id", "corrupt_gzip"),
        ("x.csv.gz", b"\x1f\x8b\x08\x00", "truncated_gzip"),
    ],
)
def test_files_without_a_line(tmp_path, name, data, fault):
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == ([], fault)


def test_gzip_members_follow_each_other_and_zeros_may_pad(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\n") + b"\0" * 100)
    assert read(path) == ([(1, b"a", ""), (2, b"b", "")], None)


def test_a_gzip_bomb_is_read_in_bounded_blocks(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"\0" * (64 << 20)))
    blocks = list(read_lines(str(path)))
    assert [block.fault for block in blocks if isinstance(block, LineBlock)] == ["line_too_long"]


def test_missing_file_is_a_fault(tmp_path):
    assert read(tmp_path / "none.csv") == ([], "unreadable_file")
