"""A hash that is the same in every process, on numpy arrays; Python's own is salted."""

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def splitmix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def pick(names: Sequence[bytes], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Picks ``share`` of the names by a hash of name and seed alone, so that every worker picks the same."""
    mixed = splitmix(splitmix(checksums(names)) ^ np.uint64(seed))
    picked: npt.NDArray[np.bool_] = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53 < share
    return picked


def checksums(names: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """CRC-32 of each name."""
    return np.array([zlib.crc32(name) for name in names], np.uint64)
