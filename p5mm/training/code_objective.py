"""Codes in training: fitted on the retriever's vectors, then every digit is learned."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from p5mm.model.item_codes import ItemCodes, shares
from p5mm.model.network import Encoded, Network
from p5mm.retrieval.codes import fit_codes
from p5mm.retrieval.trie import Trie

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodeObjective:
    """Teacher forcing of codes, all digits of a request in one pass of the decoder.

    Each digit is told from those that items have after the same beginning. A digit counts for all
    items below it, so that what is learned is worth the same whatever the codes look like.

    Attributes:
        codes: Of the network that is trained.
        trie: Of the items that are trained.
        prior: ``[nodes]`` log of the items below each node.
    """

    codes: ItemCodes
    trie: Trie
    prior: Tensor

    @classmethod
    def of(cls, network: Network) -> "CodeObjective":
        """The loss of a network's codes.

        Raises:
            InputError: The network has none.
        """
        trie = network.known_codes.trie(network.items.trained_rows)
        return cls(network.known_codes, trie, shares(trie))

    def __call__(
        self,
        network: Network,
        encoded: Encoded,
        positions: Tensor,
        targets: Tensor,
        prompt: Sequence[int],
    ) -> Tensor:
        """Minus the log-probability ``[b, m]`` of the digits of items.

        Args:
            network: Reads and answers.
            encoded: Histories, read once.
            positions: ``[b, m]`` int64 how many items of its history a request knows.
            targets: ``[b, m]`` int64 catalog rows of trained items.
            prompt: Token ids.
        """
        codes, begin = self.codes, len(prompt) - 1
        read = codes.digits[targets][..., : codes.levels - 1]
        states = network.code_states(encoded, encoded.seen_until(positions), prompt, read)
        lines = torch.arange(len(positions))[:, None]
        queries = encoded.queries[lines, positions] / network.temperature
        path, loss = self.trie.path(targets), torch.zeros(targets.shape)
        for level in range(codes.levels):
            children = self.trie.children(path[..., level], level)
            logits = codes.logits(level, states[:, :, begin + level], queries)
            among = logits.gather(-1, children.digits) + self.prior[children.nodes]
            among = among.masked_fill(~children.real, -torch.inf).log_softmax(dim=-1)
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
