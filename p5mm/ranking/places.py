"""Which places items that nobody has taken get: how they compete beyond the first page."""

import torch
from torch import Tensor

PAGE = 10  # places that all items compete for alike
GAP = 1e-3  # what the first item beyond the page stands below the last one on it, at the least


def lifted(scores: Tensor, new: Tensor, lift: float) -> Tensor:
    """Scores ``[b, n]`` by which new items stand higher, but for the first ``PAGE`` places.

    Who is on the first page, and in which order, stays as it is. Where a lifted item would come
    before the page's last, all that is not on the page is lowered together, so scores fall along
    the list.

    Args:
        scores: Combined scores; minus infinity where there is no candidate.
        new: ``[b, n]`` bool, True where nobody has taken the candidate.
        lift: What is added to their scores.
    """
    if not lift or scores.shape[1] <= PAGE:
        return scores
    page = scores.sort(dim=1, descending=True, stable=True).indices[:, :PAGE]
    beyond = torch.ones_like(new).scatter(1, page, False)
    last = scores.gather(1, page[:, -1:])
    raised = torch.where(beyond, scores + lift * new, -torch.inf)
    best = raised.amax(dim=1, keepdim=True)
    lowered = torch.where(best > last, best - last + GAP, 0.0)
    return torch.where(beyond, raised - lowered, scores)
