"""What a frozen encoder sees in each frame, kept on disk and shared by all runs that would compute the same.

A row is computed when it is first wanted, in a batch of the training's own size that is filled up with frames that will
be wanted later: so an encoder reads each frame once, whatever the number of epochs, arms and seeds, and what it
gives is, bit for bit, what training without the cache gives. Each row has a checksum: a torn, altered or half-written
one counts as absent and is computed again.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from encoders.contract import Encoder
from workbench.compute import Place
from workbench.policy import Policy
from workbench.provenance import machine
from workbench.record import FEATURES, NO_CACHE
from workbench.training.ledger import slot_hash

# B batch  M frames  N image tokens  D encoder width

LIMIT = 4 * 2**30
"""Bytes that one encoder's features of one data set may take; larger ones are computed each time."""
CHECKSUM = 4
"""Bytes before each row."""


@dataclass
class Features:
    """The tokens of `image_MHWC`, uint8, by a frozen `encoder`, in batches of one size.

    `computed` and `reused` count frames. A disk that is full ends the keeping, not the training.
    """

    path: Path
    encoder: Encoder
    image_MHWC: Tensor
    like_ND: Tensor
    batch: int
    spot: Place
    salt: int
    computed: int = 0
    reused: int = 0
    kept: bool = True
    absent: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self.row = self.like_ND.nbytes + CHECKSUM
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self.absent = (index for index in range(len(self.image_MHWC)) if self._read(index) is None)

    def __call__(self, rows_B: Tensor) -> Tensor:
        """`[B, N, D]` on the device that is computed on; `rows_B` has as many frames as a batch."""
        wanted = rows_B.tolist()
        found = {index: self._read(index) for index in wanted}
        missing = [index for index, tokens_ND in found.items() if tokens_ND is None]
        self.reused += len(found) - len(missing)
        if missing:
            found |= self._compute(missing)
        return torch.stack([found[index] for index in wanted]).to(self.spot.device)  # type: ignore[misc]

    def close(self) -> None:
        os.close(self.file)

    def _compute(self, missing: list[int]) -> dict[int, Tensor]:
        """The tokens of those frames, and of others that are absent, as many as a batch has room for."""
        rows = missing
        if self.kept:
            known = set(missing)
            while len(rows) < self.batch and (index := next(self.absent, None)) is not None:
                rows = rows if index in known else [*rows, index]
        self.computed += len(rows)
        padded = rows + [rows[-1]] * (self.batch - len(rows))
        seen_BND = encoded(self.encoder, self.image_MHWC[torch.tensor(padded)], self.spot)
        tokens = dict(zip(rows, seen_BND[: len(rows)], strict=True))
        for index, tokens_ND in tokens.items():
            self._write(index, tokens_ND)
        return tokens

    def _read(self, index: int) -> Tensor | None:
        if not self.kept:
            return None
        content = os.pread(self.file, self.row, index * self.row)
        data = bytearray(content[CHECKSUM:])
        if len(content) < self.row or zlib.crc32(data, self.salt).to_bytes(CHECKSUM, "little") != content[:CHECKSUM]:
            return None
        return torch.frombuffer(data, dtype=self.like_ND.dtype).view(self.like_ND.shape)

    def _write(self, index: int, tokens_ND: Tensor) -> None:
        if self.kept:
            data = tokens_ND.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            checksum = zlib.crc32(data, self.salt).to_bytes(CHECKSUM, "little")
            try:
                os.pwrite(self.file, checksum + data, index * self.row)
            except OSError:
                self.kept = False


def open_features(root: Path, policy: Policy, image_MHWC: Tensor, *, batch: int, spot: Place) -> Features | None:
    """The features of those frames under `root`, begun where there are none.

    None where they are not to be kept: the encoder is trained, the cache is turned off, it would be too large, or this
    machine gives a frame other bits beside other frames.
    """
    if "vision" not in policy.frozen or os.environ.get(NO_CACHE) or not len(image_MHWC):
        return None
    encoder = policy.vision
    assert isinstance(encoder, Encoder)
    spread_B = torch.arange(batch) * len(image_MHWC) // batch
    seen_BND = encoded(encoder, image_MHWC[spread_B], spot)
    turned_BND = encoded(encoder, image_MHWC[spread_B.flip(0)], spot).flip(0)
    if seen_BND[0].nbytes * len(image_MHWC) > LIMIT or not torch.equal(seen_BND, turned_BND):
        return None
    key = {
        "encoder": slot_hash(encoder),
        "card": encoder.card.model_dump(),
        "frames": hashlib.sha256(image_MHWC.numpy().data).hexdigest(),
        "shape": [len(image_MHWC), *seen_BND.shape[1:]],
        "dtype": [str(spot.dtype), str(seen_BND.dtype)],
        "device": spot.device.type,
        "batch": batch,
        "machine": machine(),
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    (root / FEATURES).mkdir(parents=True, exist_ok=True)
    path = root / FEATURES / f"{name[:16]}.rows"
    return Features(path, encoder, image_MHWC, seen_BND[0], batch, spot, salt=int(name[:8], 16))


def encoded(encoder: Encoder, image_BHWC: Tensor, spot: Place) -> Tensor:
    """Tokens `[B, N, D]` on the CPU, as training computes them."""
    with torch.no_grad(), spot.autocast():
        return encoder(image_BHWC.to(spot.device)).cpu()
