"""How the decoder reads relations: T5's relative position bias, generalised."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from p5mm.model.dropout import Dropout
from p5mm.model.layers import Attention, T5Config

TOGETHER, AFTER, SLIM = "together", "after", "slim"
LEARNED, RATING = "learned", "rating"
FACTS = ("logit", "popularity", "new", "length")  # of a candidate and its request
DECAYS = (0.3, 0.6, 0.9)  # a relation to an item j places back weighs decay^j in a sum
LEAST = 1e-6  # of a unit
WIDTH = 16  # of what is made of a pair's relations
HIDDEN = 64  # of the shallow network
QUIET = 0.1


def relation_names(content: Iterable[str]) -> tuple[str, ...]:
    """What each relation of a pair is, in a catalog with these modalities."""
    return (TOGETHER, AFTER, SLIM, *content, LEARNED, RATING)


class RelationAttention(nn.Module):
    """One layer's cross-attention from candidates to the items of a history, by relations alone.

    As in Shaw et al. 2018 (equations 3 and 4) a relation gives a key and a value beside a bias of
    its own, so that how strong a relation is reaches the state, not only which item has it. All
    three are linear in one short vector a pair, so nothing of width d is made for a pair.

    Args:
        width: Of a pair's vector.
        config: Sizes of the T5, whose queries and outputs are used.
    """

    def __init__(self, width: int, config: T5Config) -> None:
        super().__init__()
        inner = config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.bias = nn.Linear(width, config.num_heads)
        self.keys = nn.Linear(width, inner, bias=False)
        self.values = nn.Linear(width, inner, bias=False)
        nn.init.normal_(self.keys.weight, std=QUIET * width**-0.5)

    def forward(self, attention: Attention, h: Tensor, pairs: Tensor, mask: Tensor) -> Tensor:
        """``[b, n, d]`` what each candidate gathers.

        Args:
            attention: The T5's own cross-attention.
            h: ``[b, n, d]`` normalised states of the candidates.
            pairs: ``[b, n, s, width]``.
            mask: ``[b, 1, 1, s]``, minus infinity where a history has no item.
        """
        gathered = self.weights(attention, h, pairs, mask) @ pairs
        heads = gathered.transpose(1, 2) @ self._of_heads(self.values).transpose(-1, -2)
        out: Tensor = attention.o(attention.merge(heads))
        return out

    def weights(self, attention: Attention, h: Tensor, pairs: Tensor, mask: Tensor) -> Tensor:
        """``[b, n, heads, s]`` how each head shares its attention; arguments as in ``forward``."""
        queries = attention.split(attention.q(h)) @ self._of_heads(self.keys)
        logits = queries.transpose(1, 2) @ pairs.transpose(-1, -2)
        shares: Tensor = (logits + self.bias(pairs).transpose(-1, -2) + mask).softmax(dim=-1)
        return shares

    def _of_heads(self, linear: nn.Linear) -> Tensor:
        """``[heads, d_kv, width]``."""
        return torch.unflatten(linear.weight, 0, (self.heads, -1))


def pooled(relations: Tensor) -> Tensor:
    """Relations ``[..., s, r]`` in few numbers ``[..., (2 + sums) * r]``: last, most, sums."""
    s = relations.shape[-2]
    places = torch.arange(s, device=relations.device)
    weights = torch.stack([decay ** places.float() for decay in DECAYS])
    sums = (weights @ relations).flatten(-2)
    most = relations.amax(dim=-2).clamp(min=0)  # no item is as good as one without a relation
    return torch.cat([relations[..., 0, :], most, sums], dim=-1)


class Shallow(nn.Module):
    """Logits of candidates by their numbers alone, which the T5's are added to.

    Both are trained as one, as in Wide & Deep (Cheng et al. 2016): the T5 need not learn through
    its layers what a few numbers say already.

    Args:
        numbers: What is known of a candidate.
        dropout: Probability of zeroing a hidden value.
    """

    def __init__(self, numbers: int, dropout: float) -> None:
        super().__init__()
        last = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(numbers, HIDDEN), nn.GELU(), Dropout(dropout),
            nn.Linear(HIDDEN, HIDDEN), nn.GELU(), Dropout(dropout), last,
        )  # fmt: skip

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits ``[b, n]`` of numbers ``[b, n, numbers]``."""
        logits: Tensor = self.layers(numbers).squeeze(-1)
        return logits


class RelationReader(nn.Module):
    """Makes the token of a candidate of facts and pooled relations, and a vector of each pair.

    Args:
        relations: Relations of a pair.
        facts: Numbers that are known of a candidate.
        reach: Items of a history that are looked at.
        config: Sizes of the T5.
    """

    def __init__(self, relations: int, facts: int, reach: int, config: T5Config) -> None:
        super().__init__()
        numbers = facts + (2 + len(DECAYS)) * relations
        self.token = nn.Linear(numbers, config.d_model)
        self.shallow = Shallow(numbers, config.dropout_rate)
        self.pair = nn.Linear(relations, WIDTH)
        self.places = nn.Embedding(1 + reach, WIDTH)  # 0 is no item at all: always there to look at
        nn.init.normal_(self.places.weight, std=0.3)
        self.layers = nn.ModuleList(
            RelationAttention(WIDTH, config) for _ in range(config.num_decoder_layers)
        )
        self.register_buffer("scale", torch.ones(relations))
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("spread", torch.ones(numbers))
        self.scale: Tensor
        self.mean: Tensor
        self.spread: Tensor

    @torch.no_grad()
    def measure(self, relations: Tensor, facts: Tensor) -> None:
        """Take the units of relations ``[..., r]`` and facts ``[..., f]`` from examples of them."""
        flat = relations.float().flatten(0, -2)
        there = (flat.abs() > LEAST).sum(dim=0)  # less is rounding
        scale = (flat.square().sum(dim=0) / there.clamp(min=1)).sqrt()
        self.scale.copy_(torch.where(there > 0, scale, 1.0))
        flat = _numbers(facts, relations).flatten(0, -2)
        self.mean.copy_(flat.mean(dim=0))
        spread = flat.std(dim=0, correction=0)  # what is the same in all of these may not stay so
        self.spread.copy_(torch.where(spread > LEAST, spread, 1.0))

    def numbers(self, facts: Tensor, relations: Tensor) -> Tensor:
        """What is known of candidates ``[b, n, numbers]``: facts and pooled relations, in units.

        Args:
            facts: ``[b, n, f]``.
            relations: ``[b, n, s, r]``, the last item of a history first.
        """
        return (_numbers(facts, relations) - self.mean) / self.spread

    def pairs(self, relations: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """A vector of each pair, and which pairs there are.

        Args:
            relations: ``[b, n, s, r]``, the last item of a history first.
            lengths: ``[b]`` int64 items of each history.

        Returns:
            ``[b, n, 1 + s, width]``, and a mask ``[b, 1, 1, 1 + s]``, minus infinity where a
            history has no item; place 0 is no item.
        """
        b, n, s, _ = relations.shape
        places = self.places.weight[: 1 + s]
        related = self.pair(relations / self.scale) + places[1:]
        nothing = places[0].expand(b, n, 1, -1)
        real = torch.arange(1 + s, device=lengths.device) <= lengths[:, None]
        mask = torch.zeros(real.shape, device=lengths.device).masked_fill(~real, -torch.inf)
        return F.gelu(torch.cat([nothing, related], dim=2)), mask[:, None, None]


def _numbers(facts: Tensor, relations: Tensor) -> Tensor:
    return torch.cat([facts, pooled(relations)], dim=-1)
