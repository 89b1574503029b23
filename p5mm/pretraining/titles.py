"""Titles: what the T5 learns to write of an item's soft prompt alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from p5mm.data.catalog import Catalog
from p5mm.data.histories import Histories
from p5mm.model.batches import history_batch
from p5mm.model.network import Encoded, Network, words_loss
from p5mm.model.tokenizer import START, tokens_of
from p5mm.ranking.writing import beams

TITLE = "title"
LENGTH = 24  # tokens of a title that are learned; the rest is cut
HELD_OUT = 20  # one item in so many is never written in training
TOGETHER = 64  # titles of a step


@dataclass(frozen=True)
class Titles:
    """The titles of all catalogs in tokens.

    Attributes:
        words: ``[n, l]`` int64, each closed by the end token and padded; all padding where an
            item has no text.
        held_out: ``[n]`` bool, True where a title is never learned.
    """

    words: Tensor
    held_out: Tensor

    @classmethod
    def of(cls, catalogs: Sequence[Catalog], tokenizer: Tokenizer) -> "Titles":
        """The titles of catalogs, one after the other."""
        texts = [text for catalog in catalogs for text in catalog.own_titles]
        ids = [item for catalog in catalogs for item in catalog.item_ids]
        words = tokens_of(tokenizer, texts, LENGTH, closed=True)
        return cls(words, torch.tensor([is_held_out(item) for item in ids]))

    def loss(self, network: Network, rows: Tensor) -> Tensor:
        """Mean negative log probability of the words of titles, each after those before it."""
        words = self.words[rows]
        return words_loss(network.t5, alone(network, network.items(rows)), [START], words)


def is_held_out(item_id: str) -> bool:
    """Whether an item's title is kept from training; depends on its id alone."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=8).digest()) % HELD_OUT == 0


def alone(network: Network, tokens: Tensor) -> Encoded:
    """Each item read as if it were all that somebody took; soft tokens ``[n, k, d]``."""
    n = len(tokens)
    one = Histories(np.arange(n, dtype=np.int64), np.arange(n + 1, dtype=np.int64))
    return network.encode(tokens, history_batch(one, 1))


@torch.inference_mode()
def written_titles(
    network: Network, tokenizer: Tokenizer, rows: Tensor, width: int = 4, batch: int = 128
) -> list[str]:
    """The titles that the T5 writes of items at ``rows`` ``[m]``, by beams.

    Args:
        network: In evaluation mode.
        tokenizer: Of the T5.
        rows: Item rows.
        width: Beams.
        batch: Items at once.
    """
    found: list[str] = []
    for part in rows.split(batch):  # type: ignore[no-untyped-call]
        encoded = alone(network, network.items(part))
        texts = beams(network.t5, encoded, LENGTH, width).texts()
        found += [tokenizer.decode(tokens).strip() for tokens in texts]
    return found
