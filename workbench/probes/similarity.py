"""How alike two encoders' tokens are, frame by frame: linear CKA and cosine, gathered batch by batch."""

# B frames  N tokens  D width of the one encoder  E width of the other

import torch
from torch import Tensor


class Comparison:
    """Both encoders' tokens of the same frames, kept as second moments: any number of frames takes the same memory.

    A token of a frame is one sample, and each of the N positions is centred on its own mean over the frames: what is
    compared is how tokens answer to what is seen, not the pattern of positions that all frames share. With widths D
    and E and M samples, independent noise has a CKA of about √(D·E) / M: small where a frame has many tokens. Samples
    of whole flattened frames would have more features than there are frames, and look alike whatever they hold.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.sums: tuple[Tensor, Tensor] | None = None
        self.products: tuple[Tensor, Tensor, Tensor] | None = None
        self.cosines: list[Tensor] = []

    def add(self, before_BND: Tensor, after_BNE: Tensor) -> None:
        """Take in a batch; cosines only where both have the same width."""
        a, b = before_BND.double(), after_BNE.double()
        sums = (a.sum(0), b.sum(0))
        products = (_product(a, a), _product(a, b), _product(b, b))
        self.frames += len(a)
        if self.sums is None or self.products is None:
            self.sums, self.products = sums, products
        else:
            self.sums = (self.sums[0] + sums[0], self.sums[1] + sums[1])
            old = self.products
            self.products = (old[0] + products[0], old[1] + products[1], old[2] + products[2])
        if a.shape == b.shape:
            self.cosines.append(_cosine(a, b).flatten())

    def covariances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centred sums of products: before × before `[D, D]`, before × after `[D, E]`, after × after `[E, E]`."""
        assert self.sums is not None and self.products is not None, "nothing was added"
        (a, b), (aa, ab, bb) = self.sums, self.products
        return aa - a.T @ a / self.frames, ab - a.T @ b / self.frames, bb - b.T @ b / self.frames

    @property
    def cka(self) -> float:
        """Linear CKA (Kornblith et al., arXiv:1905.00414, eq. 3 with eq. 4): 0 … 1, 1 up to rotation and scaling."""
        aa, ab, bb = (covariance.pow(2).sum() for covariance in self.covariances())
        return float(ab / (aa * bb).sqrt())

    @property
    def cosine(self) -> float:
        """Mean cosine of a token before and the same token after; the encoders are of one width."""
        return float(torch.cat(self.cosines).mean())


def linear_cka(before_MD: Tensor, after_ME: Tensor) -> float:
    """Linear CKA of M samples, features centred."""
    return _compared(before_MD, after_ME).cka


def mean_cosine(before_MD: Tensor, after_MD: Tensor) -> float:
    """Mean cosine over M samples."""
    return _compared(before_MD, after_MD).cosine


def _compared(before_MD: Tensor, after_ME: Tensor) -> Comparison:
    comparison = Comparison()
    comparison.add(before_MD[:, None], after_ME[:, None])
    return comparison


def _product(a_BND: Tensor, b_BNE: Tensor) -> Tensor:
    return a_BND.flatten(0, 1).T @ b_BNE.flatten(0, 1)


def _cosine(a_BND: Tensor, b_BND: Tensor) -> Tensor:
    """One root of both lengths' squares: equal tokens have a cosine of exactly 1."""
    return (a_BND * b_BND).sum(-1) / (a_BND.pow(2).sum(-1) * b_BND.pow(2).sum(-1)).sqrt()
