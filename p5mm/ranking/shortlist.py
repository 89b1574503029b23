"""Which of the candidates found the decoder reads; it is what costs most of a recommendation."""

import torch
from torch import Tensor

TAKEN = 60  # of the items that somebody took, the retriever's best
NEW = 10  # of the others


def shortlist(rows: Tensor, trained: Tensor) -> Tensor:
    """The columns of candidates that the decoder reads, ascending.

    Args:
        rows: ``[b, n]`` int64 catalog rows, -1 for none: items that somebody took, best first, then
            new ones, best first.
        trained: ``[items]`` bool, True where somebody took an item.
    """
    new = ((rows >= 0) & ~trained[rows.clamp(min=0)]).any(dim=0)
    taken, others = (torch.nonzero(where).flatten() for where in (~new, new))
    return torch.cat([taken[:TAKEN], others[:NEW]])


def completed(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The decoder's logits ``[b, n]`` of all candidates: unread ones count as the least likely.

    Args:
        logits: ``[b, m]`` of the columns read.
        rows: ``[b, n]`` int64 catalog rows, -1 for none.
        columns: ``[m]`` int64.
    """
    nobody = rows[:, columns] < 0
    least = logits.masked_fill(nobody, torch.inf).amin(dim=1, keepdim=True)
    least = least.masked_fill(nobody.all(dim=1, keepdim=True), 0.0)
    return least.expand(rows.shape).index_copy(1, columns, logits)
