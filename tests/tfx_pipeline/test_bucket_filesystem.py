"""TFX's file layer on a bucket of a local S3 server does what it does on a disk."""

import pytest
from tfx.dsl.io import fileio

from tfx_pipeline import bucket_filesystem


@pytest.fixture(scope="module", params=["disk", "s3"])
def root(request, tmp_path_factory) -> str:
    """A directory with ``a.txt``, ``dir/b.bin`` and ``dir/sub/c.txt``; the same tests run on the disk, as a witness."""
    bucket_filesystem.register()
    place = f"{request.getfixturevalue('s3')}/tfx" if request.param == "s3" else str(tmp_path_factory.mktemp("tfx"))
    for name, content in (("a.txt", "first\nä".encode()), ("dir/b.bin", b"\0\1"), ("dir/sub/c.txt", b"")):
        fileio.makedirs(f"{place}/{name}".rpartition("/")[0])
        with fileio.open(f"{place}/{name}", "wb") as file:
            file.write(content)
    return place


def test_reading_and_writing(root):
    with fileio.open(f"{root}/a.txt") as file:
        assert file.read() == "first\nä"
    with fileio.open(f"{root}/dir/b.bin", "rb") as file:
        assert file.read() == b"\0\1"
    with fileio.open(f"{root}/text", "w") as file:
        file.write("ü")
    assert fileio.stat(f"{root}/text").st_size if "://" in root else True
    with fileio.open(f"{root}/text", "rb") as file:
        assert file.read() == "ü".encode()
    fileio.remove(f"{root}/text")
    assert not fileio.exists(f"{root}/text")


def test_listing(root):
    assert fileio.exists(f"{root}/a.txt")
    assert not fileio.isdir(f"{root}/a.txt")
    assert not fileio.exists(f"{root}/a")
    assert fileio.isdir(f"{root}/dir")
    assert [name.rstrip("/") for name in sorted(fileio.listdir(root))] == ["a.txt", "dir"]
    assert sorted(fileio.glob(f"{root}/*")) == [f"{root}/a.txt", f"{root}/dir"]
    assert fileio.glob(f"{root}/*/b.*") == [f"{root}/dir/b.bin"]
    assert fileio.glob(f"{root}/none*") == []
    walked = [(place, sorted(directories), sorted(files)) for place, directories, files in fileio.walk(root)]
    assert walked == [
        (root, ["dir"], ["a.txt"]),
        (f"{root}/dir", ["sub"], ["b.bin"]),
        (f"{root}/dir/sub", [], ["c.txt"]),
    ]


def test_copies_and_moves(root, tmp_path):
    fileio.copy(f"{root}/a.txt", f"{root}/copy.txt")
    with pytest.raises(Exception, match="exist"):
        fileio.copy(f"{root}/a.txt", f"{root}/copy.txt")
    fileio.copy(f"{root}/a.txt", str(tmp_path / "here"), overwrite=True)
    fileio.copy(str(tmp_path / "here"), f"{root}/copy.txt", overwrite=True)
    fileio.makedirs(f"{root}/moved")
    fileio.rename(f"{root}/copy.txt", f"{root}/moved/x")
    fileio.rename(f"{root}/moved", f"{root}/again")
    with fileio.open(f"{root}/again/x") as file:
        assert file.read() == "first\nä"
    fileio.rmtree(f"{root}/again")
    assert not fileio.exists(f"{root}/again")


def test_what_is_not_there(root):
    assert list(fileio.walk(f"{root}/nothing")) == []
    for wrong in (fileio.remove, fileio.rmtree, fileio.stat, fileio.listdir):
        with pytest.raises(fileio.NotFoundError):
            wrong(f"{root}/nothing")
    with pytest.raises(fileio.NotFoundError):
        fileio.rename(f"{root}/nothing", f"{root}/something")


def test_a_block_that_fails_writes_no_object(s3):
    bucket_filesystem.register()
    file = fileio.open(f"{s3}/failed", "wb")
    with pytest.raises(TypeError), file:
        file.write("no bytes")
    with fileio.open(f"{s3}/text", "w") as text:
        text.write("whole")
    assert fileio.exists(f"{s3}/text")
    assert not fileio.exists(f"{s3}/failed")
    with pytest.raises(fileio.NotFoundError):
        fileio.open(f"{s3}/failed", "rb")
