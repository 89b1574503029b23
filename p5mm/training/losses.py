"""Softmax over items: the full catalog, or many shared negatives."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Below so many times the negatives, the whole catalog costs hardly more and learns better.
FULL = 4


def full_softmax(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the target among all items.

    Args:
        queries: ``[p, d]``.
        items: ``[n, d]``.
        targets: ``[p]`` int64.
    """
    return F.cross_entropy(queries @ items.T, targets)


def sampled_softmax(
    queries: Tensor, positives: Tensor, negatives: Tensor, hits: Tensor, log_q: float
) -> Tensor:
    """Cross-entropy of the target among shared negatives, logits corrected by ``-log E[count]``.

    With uniform sampling the expected count of an item is ``negatives / n``, so the correction is
    one number (logQ; Bengio and Senecal 2008, Yi et al. 2019).

    Args:
        queries: ``[p, d]``.
        positives: ``[p, d]`` vectors of the targets.
        negatives: ``[m, d]`` vectors shared by all positions.
        hits: ``[p, m]`` bool, True where a negative is the position's own target.
        log_q: ``log(m / n)``.
    """
    own = (queries * positives).sum(-1, keepdim=True)
    others = (queries @ negatives.T - log_q).masked_fill(hits, -math.inf)
    logits = torch.cat([own, others], dim=1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
