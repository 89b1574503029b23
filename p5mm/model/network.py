"""The network: items as soft prompts, a causal T5 over the history, a decoder that ranks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from p5mm.errors import InputError
from p5mm.fusion.history import HistoryTokens
from p5mm.fusion.item import ItemTokens
from p5mm.model.batches import Batch
from p5mm.model.item_codes import ItemCodes
from p5mm.model.rating_prior import RatingPrior
from p5mm.model.relation_reader import RelationReader
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import ITEM, PAD


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of a batch of histories, once, whatever is asked afterwards.

    Attributes:
        memory: ``[b, 1 + s * k, d]`` encoder states; position 0 is the start token.
        queries: ``[b, 1 + s, d]`` unit retrieval queries: after nothing, after each item.
        lengths: ``[b]`` int64 items in each history.
        soft_tokens: Soft tokens an item.
    """

    memory: Tensor
    queries: Tensor
    lengths: Tensor
    soft_tokens: int

    def seen_until(self, positions: Tensor) -> Tensor:
        """``[b, m, 1 + s * k]`` bool, True where a request after ``positions`` items may look.

        Args:
            positions: ``[b, m]`` int64: how many items of the history a request knows.
        """
        places = torch.arange(self.memory.shape[1], device=self.memory.device)
        return places <= (positions * self.soft_tokens)[..., None]

    @property
    def last(self) -> Tensor:
        """``[b, d]`` the query after the whole history."""
        return self.queries[torch.arange(len(self.lengths)), self.lengths]


class Network(nn.Module):
    """Retrieves and reranks with one T5.

    Args:
        items: Makes soft tokens of item rows.
        t5: Reads histories (causal encoder) and answers requests (decoder).
        temperature: Retrieval logits are cosines over this.
        reader: Reads relations for the decoder.
        rating_prior: What ratings are likely from biases alone; None where nobody rates.
    """

    def __init__(
        self,
        items: ItemTokens,
        t5: T5,
        temperature: float,
        reader: RelationReader,
        rating_prior: RatingPrior | None = None,
    ) -> None:
        super().__init__()
        d = t5.config.d_model
        self.items = items
        self.history = HistoryTokens(d, items.k)
        self.t5 = t5
        self.temperature = temperature
        self.reader = reader
        self.rating_prior = rating_prior
        self.codes: ItemCodes | None = None  # made of the trained retriever
        self.rank_head = nn.Linear(d, 1)
        nn.init.zeros_(self.rank_head.weight)
        nn.init.zeros_(self.rank_head.bias)

    def encode(self, tokens: Tensor, batch: Batch) -> Encoded:
        """Read every history once.

        Args:
            tokens: Soft tokens ``[n, k, d]`` of the items that ``batch.rows`` counts in.
            batch: Padded histories.
        """
        x = self.history(tokens, batch.rows, batch.ratings)
        memory = self.t5.encoder(x, causal=True)
        ends = self.history.ends(batch.rows.shape[1])
        queries = F.normalize(memory[:, ends], dim=-1)
        return Encoded(memory, queries, batch.lengths, self.items.k)

    def vectors(self, tokens: Tensor) -> Tensor:
        """Unit retrieval vectors ``[n, d]`` of soft tokens ``[n, k, d]``."""
        return F.normalize(tokens.mean(dim=1), dim=-1)

    def requests(
        self, encoded: Encoded, seen: Tensor, prompt: Sequence[int], tokens: Tensor, slots: Tensor
    ) -> Tensor:
        """Decoder states of a prompt and of what follows it.

        Args:
            encoded: Histories, read once.
            seen: ``[b, m, places]`` bool, from ``Encoded.seen_until``.
            prompt: Token ids; ``ITEM`` marks the soft tokens of the item in question.
            tokens: ``[b, m, n, d]`` candidates as one token each; n may be 0.
            slots: ``[b, m, k, d]`` soft tokens of the item in question; k may be 0.

        Returns:
            ``[b, m, len(prompt) + n, d]``.
        """
        x = torch.cat([asked(self.t5, prompt, slots), tokens], dim=2)
        states: Tensor = self.t5.decoder(x, len(prompt), encoded.memory, seen)
        return states

    def code_states(
        self, encoded: Encoded, seen: Tensor, prompt: Sequence[int], digits: Tensor
    ) -> Tensor:
        """Decoder states of a prompt and of the first digits of codes, in one causal pass.

        Args:
            encoded: Histories, read once.
            seen: ``[b, m, places]`` bool, from ``Encoded.seen_until``.
            prompt: Token ids.
            digits: ``[b, m, l]`` int64.

        Returns:
            ``[b, m, len(prompt) + l, d]``.

        Raises:
            InputError: The network was trained without codes.
        """
        x = self.t5.shared(torch.tensor(prompt, device=seen.device))
        x = torch.cat([x.expand(*seen.shape[:2], -1, -1), self.known_codes.read(digits)], dim=2)
        states: Tensor = self.t5.decoder(x, x.shape[2], encoded.memory, seen)
        return states

    @property
    def known_codes(self) -> ItemCodes:
        """The codes of the items.

        Raises:
            InputError: The network was trained without codes.
        """
        if self.codes is None:
            raise InputError(
                "this model was trained without codes; train one with --retrieval.generate true"
            )
        return self.codes

    def rerank(
        self, prompt: Sequence[int], facts: Tensor, relations: Tensor, lengths: Tensor
    ) -> Tensor:
        """Logits ``[b, n]`` of candidates by what is known of them and of their relations.

        What the encoder made of history and candidate is not read: the retriever has read it, and
        a decoder that reads it again learns the held-out targets by heart. No candidate sees
        another.

        Args:
            prompt: Token ids.
            facts: ``[b, n, f]``.
            relations: ``[b, n, s, r]``, the last item of a history first.
            lengths: ``[b]`` int64 items of each history.
        """
        numbers = self.reader.numbers(facts, relations)
        states = self._related(prompt, numbers, relations, lengths, list(self.reader.layers))
        logits: Tensor = self.rank_head(states).squeeze(-1) + self.reader.shallow(numbers)
        return logits

    def attention(
        self, prompt: Sequence[int], facts: Tensor, relations: Tensor, lengths: Tensor
    ) -> Tensor:
        """How ``rerank``, asked the same, shares its attention over the items of the histories.

        Returns:
            ``[b, n, s]``, the mean of heads and layers, the last item of a history first; what is
            missing to a sum of 1 goes to no item.
        """
        found: list[Tensor] = []

        def watched(layer: Any) -> Callable[..., Tensor]:
            def look(*args: Any) -> Tensor:
                found.append(layer.weights(*args).mean(dim=2))
                out: Tensor = layer(*args)
                return out

            return look

        layers = [watched(layer) for layer in self.reader.layers]
        self._related(prompt, self.reader.numbers(facts, relations), relations, lengths, layers)
        return torch.stack(found).mean(dim=0)[..., 1:]

    def _related(
        self,
        prompt: Sequence[int],
        numbers: Tensor,
        relations: Tensor,
        lengths: Tensor,
        layers: Sequence[Callable[..., Tensor]],
    ) -> Tensor:
        """States ``[b, n, d]`` of candidates that see a history by their relations to it."""
        words = self.t5.shared(torch.tensor(prompt, device=numbers.device))
        tokens = self.reader.token(numbers)
        x = torch.cat([words.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        pairs, mask = self.reader.pairs(relations, lengths)
        states: Tensor = self.t5.decoder.relate(x, len(prompt), pairs, mask, layers)
        return states

    def answer(
        self,
        encoded: Encoded,
        seen: Tensor,
        prompt: Sequence[int],
        slots: Tensor,
        answers: Sequence[int],
    ) -> Tensor:
        """Logits ``[b, m, answers]`` of the next token after a prompt about an item."""
        states = self.requests(encoded, seen, prompt, slots[:, :, :0], slots)
        allowed = torch.tensor(answers, device=seen.device)
        return self.t5.token_logits(states[:, :, -1], allowed)


def asked(t5: T5, prompt: Sequence[int], slots: Tensor) -> Tensor:
    """A prompt as the decoder reads it, ``[..., len(prompt), d]``.

    Args:
        t5: Whose words they are.
        prompt: Token ids; ``ITEM`` marks the soft tokens of the item in question.
        slots: ``[..., k, d]`` these; k is 0 where no item is in question.
    """
    ids = torch.tensor(prompt, device=slots.device)
    words: Tensor = t5.shared(ids.clamp(min=0)).expand(*slots.shape[:-2], -1, -1)
    places = torch.nonzero(ids == ITEM).flatten()
    if not len(places):
        return words
    times = len(places) // slots.shape[-2]  # a prompt may name its item twice
    return words.index_copy(-2, places, torch.cat([slots] * times, dim=-2))


def word_states(
    t5: T5, encoded: Encoded, prompt: Sequence[int], words: Tensor, slots: Tensor | None = None
) -> Tensor:
    """Decoder states ``[b, 1 + l, d]``: after a prompt, and after each word that follows it.

    Args:
        t5: Writes.
        encoded: What is written about.
        prompt: Token ids; see ``asked``.
        words: ``[b, l]`` int64.
        slots: ``[b, k, d]`` soft tokens of the item in question; None where there is none.
    """
    slots = encoded.memory[:, :0] if slots is None else slots
    x = torch.cat([asked(t5, prompt, slots), t5.shared(words)], dim=1)[:, None]
    seen = encoded.seen_until(encoded.lengths[:, None])
    states: Tensor = t5.decoder(x, x.shape[2], encoded.memory, seen)[:, 0]
    return states[:, len(prompt) - 1 :]


def words_loss(
    t5: T5, encoded: Encoded, prompt: Sequence[int], words: Tensor, slots: Tensor | None = None
) -> Tensor:
    """Mean negative log probability of words ``[b, l]``, padded, each after those before it.

    The other arguments are those of ``word_states``.
    """
    states = word_states(t5, encoded, prompt, words[:, :-1], slots)
    real = words != PAD
    return F.cross_entropy(t5.token_logits(states[real]), words[real])
