"""Codes in training: fitted on the retriever's vectors, then every digit is learned."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from p5mm.model.item_codes import ItemCodes
from p5mm.model.network import Encoded, Network
from p5mm.retrieval.codes import fit_codes

log = logging.getLogger(__name__)


def code_loss(
    network: Network,
    encoded: Encoded,
    positions: Tensor,
    targets: Tensor,
    prompt: Sequence[int],
) -> Tensor:
    """Minus the log-likelihood ``[b, m]`` of items' codes: teacher forcing, all digits in one pass.

    Args:
        network: Reads and answers; it has codes.
        encoded: Histories, read once.
        positions: ``[b, m]`` int64 how many items of its history a request knows.
        targets: ``[b, m]`` int64 catalog rows of items that have a code.
        prompt: Token ids.
    """
    codes, begin = network.known_codes, len(prompt) - 1
    digits = codes.digits[targets]
    read = digits[..., : codes.levels - 1]
    states = network.code_states(encoded, encoded.seen_until(positions), prompt, read)
    lines = torch.arange(len(positions))[:, None]
    queries = encoded.queries[lines, positions] / network.temperature
    said = [
        codes.digit(level, states[:, :, begin + level], queries).gather(
            -1, digits[..., level : level + 1]
        )
        for level in range(codes.levels)
    ]
    return -torch.cat(said, dim=-1).sum(dim=-1)


def fit_item_codes(
    vectors: Tensor,
    known: Tensor,
    taken: Tensor,
    item_ids: Sequence[str],
    sizes: tuple[int, int],
    seed: int,
) -> ItemCodes:
    """Codes of a catalog, with their statistics in the log before anything learns from them.

    Args:
        vectors: ``[n, d]`` unit retrieval vectors.
        known: ``[n]`` bool, True where something is known of an item: only these get a code.
        taken: ``[n]`` bool, True where the codebooks are fitted on an item.
        item_ids: Of the catalog.
        sizes: Levels, and values of a digit.
        seed: Of the codebooks.
    """
    codes = fit_codes(vectors[taken].numpy(), *sizes, seed)
    coded, ids = vectors[known].numpy(), [item_ids[row] for row in torch.nonzero(known).flatten()]
    log.info("codes: %s", codes.report(coded, ids))
    digits = torch.full((len(vectors), codes.levels + 1), -1)
    digits[known] = torch.from_numpy(codes.unique(coded, ids))
    return ItemCodes(torch.from_numpy(codes.codebooks), digits)
