"""In how many directions features vary."""

import torch
from torch import Tensor

# M samples  D features


def effective_rank(features_MD: Tensor) -> float:
    """Effective rank of a matrix of samples, as it is (Roy and Vetterli, EUSIPCO 2007): between 1 and its rank."""
    return _effective(torch.linalg.svdvals(features_MD.double()))


def effective_rank_of_covariance(covariance_DD: Tensor) -> float:
    """The same of centred features of which only their (unscaled) covariance is known."""
    return _effective(torch.linalg.eigvalsh(covariance_DD.double()).clamp(min=0).sqrt())


def _effective(singular_D: Tensor) -> float:
    """The exponential of the entropy, in nats, of singular values that are scaled to sum to 1."""
    share_D = singular_D / singular_D.sum()
    return float(torch.special.entr(share_D).sum().exp())
