"""The framing of TFRecord files: of each record its length, a checksum of that, the bytes, a checksum of them."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

import google_crc32c

_LENGTH: Final = struct.Struct("<Q")
_CRC: Final = struct.Struct("<I")
_HEADER_BYTES: Final = _LENGTH.size + _CRC.size


def masked_crc(data: bytes) -> int:
    """CRC-32C of ``data``, masked the way TFRecord does it."""
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(record: bytes) -> bytes:
    """One record in TFRecord framing."""
    length = _LENGTH.pack(len(record))
    return length + _CRC.pack(masked_crc(length)) + record + _CRC.pack(masked_crc(record))


def unframe(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a file, checked against their checksums.

    Args:
      pieces: the file's bytes, cut anywhere.

    Raises:
      ValueError: it is damaged, or ends in the middle of a record.
    """
    buffer = bytearray()
    position = 0
    for piece in pieces:
        if position:
            del buffer[:position]
            position = 0
        buffer += piece
        while len(buffer) - position >= _HEADER_BYTES:
            (length,) = _LENGTH.unpack_from(buffer, position)
            (crc,) = _CRC.unpack_from(buffer, position + _LENGTH.size)
            if masked_crc(bytes(buffer[position : position + _LENGTH.size])) != crc:
                raise ValueError("the checksum of a record's length is wrong")
            start = position + _HEADER_BYTES
            if len(buffer) < start + length + _CRC.size:
                break
            record = bytes(buffer[start : start + length])
            (crc,) = _CRC.unpack_from(buffer, start + length)
            if masked_crc(record) != crc:
                raise ValueError("the checksum of a record is wrong")
            position = start + length + _CRC.size
            yield record
    if len(buffer) != position:
        raise ValueError("it ends in the middle of a record")
