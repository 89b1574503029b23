"""What a base learns without anybody's answer: of histories, items and texts with parts hidden."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from p5mm.model.network import Encoded, Network, words_loss
from p5mm.model.tokenizer import EOS, PAD, START, UNKNOWN
from p5mm.pretraining.reading import read_words
from p5mm.training.retrieval_objective import RetrievalObjective, View

MASKED, MATCHING, SPANS = "masked", "matching", "spans"
HIDDEN = 0.2  # share of a history's items that are hidden
NOISE, SPAN = 0.15, 3  # share of a text's tokens that are hidden, and the mean length of a span
SENTINELS = 16  # spans of a text that have a token of their own


def masked_history(network: Network, ranking: RetrievalObjective, view: View) -> Tensor:
    """Cross-entropy of items hidden in histories that are read both ways.

    As in BERT4Rec (Sun et al. 2019, section 3.6); a hidden item looks like the start of a history.

    Args:
        network: In training.
        ranking: Whose items compete.
        view: Of a batch.
    """
    batch, k = view.batch, network.items.k
    real = torch.arange(batch.rows.shape[1]) < batch.lengths[:, None]
    hidden = real & (torch.rand(batch.rows.shape) < HIDDEN)
    if not hidden.any():
        return torch.zeros(())
    tokens = torch.cat([view.tokens, network.history.start.expand(1, k, -1)])
    rows = batch.rows.masked_fill(hidden, len(view.tokens))
    x = network.history(tokens, rows, batch.ratings.masked_fill(hidden, torch.nan))
    there = F.pad(real.repeat_interleave(k, dim=1), (1, 0), value=True)
    memory = network.t5.encoder(x, causal=False, mask=there)
    queries = F.normalize(memory[:, network.history.ends(rows.shape[1])], dim=-1)
    targets = F.pad(batch.rows.masked_fill(~hidden, -1), (1, 0), value=-1)
    asked = replace(view, batch=replace(batch, targets=targets))
    return ranking.loss(Encoded(memory, queries, batch.lengths, k), asked, network.temperature)


def matching(network: Network, rows: Tensor, words: Tensor) -> Tensor:
    """Cross-entropy of finding an item's text among those of others, its picture, and back.

    The contrastive loss of CLIP (Radford et al. 2021, figure 3): of an item as a whole and its
    words as the T5 reads them, and of each modality alone and the item without it.

    Args:
        network: In training.
        rows: ``[m]`` int64 different items.
        words: ``[m, l]`` int64 tokens of their texts, all padding where there is none.
    """
    losses = [torch.zeros(())]
    told = words[:, 0] != PAD
    if told.sum() > 1:
        read = read_words(network.t5, words[told]).memory[:, 0]
        losses.append(_both_ways(network, network.vectors(network.items(rows[told])), read))
    for alone, rest in _halves(network, rows):
        losses.append(_both_ways(network, network.vectors(alone), rest.mean(dim=1)))
    return torch.stack(losses).sum() / max(1, len(losses) - 1)


@dataclass(frozen=True)
class Spans:
    """Texts with spans hidden, which the T5 writes (Raffel et al. 2020, section 3.1.4).

    Attributes:
        words: ``[n, l]`` int64, padded; all padding where there is no text.
        sentinels: Token that stands for the first hidden span of a text, the second, ...
    """

    words: Tensor
    sentinels: Sequence[int]

    @classmethod
    def of(cls, words: Tensor, tokenizer: Tokenizer) -> "Spans":
        """Texts in tokens; a tokenizer without T5's sentinels hides all spans behind one token."""
        found = [tokenizer.token_to_id(f"<extra_id_{n}>") for n in range(SENTINELS)]
        return cls(words, [UNKNOWN if token is None else token for token in found])

    def loss(self, network: Network, rows: Tensor) -> Tensor:
        """Mean negative log probability of what is hidden of the texts at rows ``[m]``."""
        words = self.words[rows]
        words = words[words[:, 0] != PAD]
        if not len(words):
            return torch.zeros(())
        pairs = [self.hidden(text[text != PAD].tolist()) for text in words]
        read, written = (_padded([pair[side] for pair in pairs]) for side in (0, 1))
        return words_loss(network.t5, read_words(network.t5, read), [START], written)

    def hidden(self, tokens: Sequence[int]) -> tuple[list[int], list[int]]:
        """A text without some spans, each but for a sentinel; and the spans behind theirs."""
        count = max(1, round(NOISE * len(tokens)))
        spans = min(max(1, round(count / SPAN)), len(self.sentinels))
        gone = torch.zeros(len(tokens), dtype=torch.bool)
        for begin in torch.randint(len(tokens), (spans,)).tolist():
            gone[begin : begin + -(-count // spans)] = True
        read: list[int] = []
        written: list[int] = []
        number = -1
        for place, (token, away) in enumerate(zip(tokens, gone.tolist(), strict=True)):
            if away and (place == 0 or not gone[place - 1]):
                number += 1
                read.append(self.sentinels[number])
                written.append(self.sentinels[number])
            (written if away else read).append(token)
        return read, [*written, EOS]


def _halves(network: Network, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Soft tokens of each modality alone and of the rest, of the items that have both."""
    items = network.items
    if items.fusion is None or len(items.modalities) < 2:
        return
    for column in range(len(items.modalities)):
        there = items.present[rows]
        own = torch.zeros_like(there)
        own[:, column] = there[:, column]
        both = own.any(dim=1) & (there & ~own).any(dim=1)
        if both.sum() > 1:
            vectors = {name: items.vectors_of(name, rows[both]) for name in items.modalities}
            yield items.fusion(vectors, own[both]), items.fusion(vectors, (there & ~own)[both])


def _both_ways(network: Network, items: Tensor, others: Tensor) -> Tensor:
    """Cross-entropy of each unit vector ``[m, d]`` among the others ``[m, d]``, and back."""
    logits = items @ F.normalize(others, dim=-1).T / network.temperature
    own = torch.arange(len(items))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _padded(lists: Sequence[Sequence[int]]) -> Tensor:
    made = torch.full((len(lists), max(len(tokens) for tokens in lists)), PAD)
    for row, tokens in enumerate(lists):
        made[row, : len(tokens)] = torch.tensor(tokens)
    return made
