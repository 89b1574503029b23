"""The loss of codes: each digit of the next item's, among those that go on in the trie."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from p5mm.model.item_codes import ItemCodes, chosen, shares
from p5mm.model.network import Encoded, Network
from p5mm.retrieval.trie import Trie


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
