"""Physical lines of a text file, plain or gzip, in bounded memory whatever the file holds."""

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any, Final

from preprocessing.files import open_raw
from preprocessing.rows import RAW_BYTES, FileFault

BLOCK_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 1 << 20
BOM: Final = b"\xef\xbb\xbf"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_PIECE_BYTES: Final = 1 << 16


@dataclasses.dataclass(frozen=True)
class LineBlock:
    """Consecutive lines without their terminators.

    Attributes:
      first: number of the first line, from 1.
      data: the lines, joined by newlines.
      fault: empty; or ``line_too_long``: the block is the head of one such line; or ``truncated_gzip`` (or another
        file fault): the block is what is left of the line in which the file breaks off.
    """

    first: int
    data: bytes
    fault: str = ""


def read_lines(path: str) -> Iterator[LineBlock | FileFault]:
    """Yields the lines of a file, then, if it could not be read whole, the reason.

    A byte order mark is dropped. Lines longer than 1 MiB come as their first 4 KiB in a block of their own.
    """
    number = 1
    tail = b""
    discarding = False
    fault: FileFault | None = None
    for piece in _contents(path):
        if isinstance(piece, FileFault):
            fault = piece
            break
        if discarding:
            end = piece.find(b"\n")
            if end < 0:
                continue
            piece = piece[end + 1 :]
            discarding = False
        data = tail + piece if tail else piece
        end = data.rfind(b"\n")
        whole, tail = (data[:end], data[end + 1 :]) if end >= 0 else (b"", data)
        if end >= 0:
            blocks, number = _bounded(number, whole.removeprefix(BOM) if number == 1 else whole)
            yield from blocks
        if len(tail) > MAX_LINE_BYTES:
            yield LineBlock(number, tail[:RAW_BYTES], "line_too_long")
            number += 1
            tail, discarding = b"", True
    if number == 1:
        tail = tail.removeprefix(BOM)
    if tail:
        yield LineBlock(number, tail, fault.reason if fault else "")
    if fault:
        yield fault
    elif number == 1 and not tail:
        yield FileFault("empty_file", "it holds no data")


def _bounded(number: int, data: bytes) -> tuple[list[LineBlock], int]:
    """Splits off lines above the bound; returns blocks and the number of the line that follows them."""
    if len(data) <= MAX_LINE_BYTES:
        return [LineBlock(number, data)], number + data.count(b"\n") + 1
    blocks: list[LineBlock] = []
    lines = data.split(b"\n")
    begin = 0
    for i, line in enumerate(lines):
        if len(line) > MAX_LINE_BYTES:
            if begin < i:
                blocks.append(LineBlock(number + begin, b"\n".join(lines[begin:i])))
            blocks.append(LineBlock(number + i, line[:RAW_BYTES], "line_too_long"))
            begin = i + 1
    if begin < len(lines):
        blocks.append(LineBlock(number + begin, b"\n".join(lines[begin:])))
    return blocks, number + len(lines)


def _contents(path: str) -> Iterator[bytes | FileFault]:
    """The decompressed bytes of a file in pieces, then a fault if it could not be read to its end."""
    try:
        with open_raw(path) as stream:
            head = stream.read(BLOCK_BYTES)
            if head.startswith(_GZIP_MAGIC):
                yield from _gunzip(head, stream)
            elif path.endswith(".gz"):
                yield (
                    FileFault("corrupt_gzip", "it is not gzip data")
                    if head
                    else FileFault("empty_file", "it holds no data")
                )
            else:
                while head:
                    yield head
                    head = stream.read(BLOCK_BYTES)
    except OSError as error:
        yield FileFault("unreadable_file", str(error))


def _gunzip(head: bytes, stream: Any) -> Iterator[bytes | FileFault]:
    """Decompresses one or more gzip members up to the end, or up to the very byte at which they break."""
    decompressor = zlib.decompressobj(31)
    started = False
    block = head
    while block:
        for begin in range(0, len(block), _PIECE_BYTES):
            piece = block[begin : begin + _PIECE_BYTES]
            while piece:
                if decompressor.eof:
                    piece = piece.lstrip(b"\0")
                    if not piece:
                        break
                    decompressor, started = zlib.decompressobj(31), False
                before = decompressor.copy()
                try:
                    # The bound keeps a bomb from filling the memory: what is not output yet waits in the input.
                    output = decompressor.decompress(piece, BLOCK_BYTES)
                except zlib.error as error:
                    yield _until_error(before, piece)
                    yield FileFault("corrupt_gzip", str(error))
                    return
                started = True
                if output:
                    yield output
                piece = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
        block = stream.read(BLOCK_BYTES)
    if not decompressor.eof and started:
        rest = decompressor.flush()
        if rest:
            yield rest
        if not decompressor.eof:
            yield FileFault("truncated_gzip", "the gzip stream breaks off before its end")


def _until_error(decompressor: Any, piece: bytes) -> bytes:
    """What can be decompressed of ``piece`` before its error; a failing call itself returns nothing."""
    output = b""
    for i in range(len(piece)):
        try:
            output += decompressor.decompress(piece[i : i + 1])
        except zlib.error:
            break
    return output
