"""CRC-32C of bytes (Castagnoli, RFC 3720 appendix B.4), fast enough to check every record that is read."""

from functools import cache

import numpy as np

POLYNOMIAL = np.uint32(0x82F63B78)
"""Reflected: the lowest bit is the highest power."""
ONES = 0xFFFFFFFF
WORD = np.dtype("<u4")
BITS = 32


def crc32c(data: bytes) -> int:
    """The checksum, 0 to 2**32 − 1.

    A register that starts at zero is a linear function of the message: a word counts as itself, pushed on by the words
    from it to the end. So the front half is pushed on by as many words as the rear has, all at once, and added to it,
    until one word is left.
    """
    begun = np.frombuffer(_prefix() + data, np.uint8)
    # Zeros in front of everything leave a register of zero as it is.
    padded = np.zeros(-(-len(begun) // WORD.itemsize) * WORD.itemsize, np.uint8)
    padded[len(padded) - len(begun) :] = begun
    words = padded.view(WORD)
    while len(words) > 1:
        power = (len(words) - 1).bit_length() - 1
        rear = 1 << power
        words[rear:] ^= _pushed(words[:-rear], power)
        words = words[-rear:]
    return int(_pushed(words, 0)[0]) ^ ONES


def _pushed(words: np.ndarray, power: int) -> np.ndarray:
    """Registers after another 2**power words of zeros."""
    low, high = _table(power)
    return low[words & 0xFFFF] ^ high[words >> 16]


@cache
def _table(power: int) -> np.ndarray:
    """[2, 65536] what each value of each half of a register becomes after 2**power words of zeros."""
    low = np.arange(1 << 16, dtype=WORD)
    values = np.stack([low, low << 16])
    if power:
        return _pushed(_pushed(values, power - 1), power - 1)
    for _ in range(BITS):
        values = (values >> 1) ^ ((values & 1) * POLYNOMIAL)
    return values


@cache
def _prefix() -> bytes:
    """The word that brings a register of zero to all ones, where the standard starts."""
    word = ONES
    for _ in range(BITS):
        word = ((word ^ int(POLYNOMIAL)) << 1 | 1) if word >> (BITS - 1) else word << 1
    return word.to_bytes(WORD.itemsize, "little")
