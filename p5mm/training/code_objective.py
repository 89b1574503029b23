"""Codes in training: fitted on the retriever's vectors, then each digit is a choice to learn."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from p5mm.model.item_codes import ItemCodes, chosen, shares
from p5mm.model.network import Encoded, Network
from p5mm.retrieval.codes import fit_codes
from p5mm.retrieval.trie import Trie

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodeObjective:
    """Teacher forcing of codes, all digits of a request in one pass of the decoder.

    Attributes:
        codes: Of the network that is trained.
        trie: Of the items that are trained.
        prior: ``[nodes]`` log of the items below each node.
    """

    codes: ItemCodes
    trie: Trie
    prior: Tensor

    @classmethod
    def of(cls, network: Network) -> "CodeObjective | None":
        """The loss of a network's codes; None where it has none."""
        if network.codes is None:
            return None
        trie = network.codes.trie(network.items.trained_rows)
        return cls(network.codes, trie, shares(trie))

    def __call__(
        self,
        network: Network,
        encoded: Encoded,
        positions: Tensor,
        targets: Tensor,
        prompt: Sequence[int],
    ) -> Tensor:
        """Minus the log-likelihood ``[b, m]`` of the targets' codes.

        Args:
            network: Reads and answers.
            encoded: Histories, read once.
            positions: ``[b, m]`` int64 how many items of its history a request knows.
            targets: ``[b, m]`` int64 catalog rows of trained items.
            prompt: Token ids.
        """
        codes, begin = self.codes, len(prompt) - 1
        digits = codes.digits[targets][..., : codes.levels - 1]
        states = network.code_states(encoded, encoded.seen_until(positions), prompt, digits)
        lines = torch.arange(len(positions))[:, None]
        queries = encoded.queries[lines, positions] / network.temperature
        path = self.trie.path(targets)
        loss = torch.zeros(targets.shape)
        for level in range(codes.levels + 1):
            last = level == codes.levels
            logits = queries[..., :0] if last else codes.logits(
                level, states[:, :, begin + level], queries
            )  # fmt: skip
            among = chosen(logits, self.trie, self.prior, path[..., level], level)
            place = path[..., level + 1] - self.trie.first[path[..., level]]
            loss = loss - among.gather(-1, place[..., None]).squeeze(-1)
        return loss


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
