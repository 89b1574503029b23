"""The T5 writes words: greedily, by beams, or sampled; keys and values are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from p5mm.errors import InputError
from p5mm.model.network import Encoded
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import EOS, PAD, START
from p5mm.ranking.decoding import Paths

WRITTEN = 16  # tokens of a headline at most


@dataclass(frozen=True)
class Written:
    """Beams that have come to their end.

    Attributes:
        tokens: ``[b, w, l]`` int64, each closed by the end token and padded.
        scores: ``[b, w]`` best first: the sum of log probabilities over length^penalty; minus
            infinity where there is none.
    """

    tokens: Tensor
    scores: Tensor

    def best_of(self, tokens: Tensor, scores: Tensor) -> "Written":
        """The best ``w`` of these and of others ``[b, m, l]`` with scores ``[b, m]``."""
        length = max(self.tokens.shape[2], tokens.shape[2])
        both = torch.cat([_padded(part, length) for part in (self.tokens, tokens)], dim=1)
        best = torch.cat([self.scores, scores], dim=1).topk(self.scores.shape[1])
        return Written(_rows(both, best.indices), best.values)

    def texts(self) -> list[list[int]]:
        """Token ids of the best of each, without padding and end."""
        return [
            [token for token in row.tolist() if token not in (PAD, EOS)]
            for row in self.tokens[:, 0]
        ]


@torch.inference_mode()
def beams(
    t5: T5,
    encoded: Encoded,
    length: int,
    width: int = 1,
    penalty: float = 1.0,
    prompt: Sequence[int] = (START,),
    slots: Tensor | None = None,
) -> Written:
    """The likeliest texts that beam search finds; with a width of 1 the greedy one.

    As transformers' ``generate`` with ``early_stopping="never"``: a search goes on until nothing
    that is unfinished could still be among the best.

    Args:
        t5: In evaluation mode.
        encoded: What is written about.
        length: At most so many tokens; what has not ended by then ends there.
        width: Beams.
        penalty: A text's score is the sum of its log probabilities over its length to this power.
        prompt: Token ids that come before the text; ``ITEM`` marks soft tokens of an item.
        slots: ``[b, k, d]`` these; None where the prompt names no item.

    Raises:
        InputError: A length or a width below 1, or a penalty without sense.
    """
    _check(length, width)
    if not abs(penalty) <= 10:
        raise InputError(f"the penalty of lengths is {penalty}; give a number from -10 to 10")
    b = len(encoded.lengths)
    paths = Paths.start(t5, encoded, prompt, length, slots)
    running, scores = torch.zeros(b, 1, 0, dtype=torch.int64), torch.zeros(b, 1)
    done = Written(torch.zeros(b, width, 0, dtype=torch.int64), torch.full((b, width), -torch.inf))
    for step in range(1, length + 1):
        logits = t5.token_logits(paths.states).log_softmax(dim=-1)
        total = (scores[..., None] + logits).flatten(1)
        best = total.topk(min(2 * width, total.shape[1]))
        parents = best.indices // logits.shape[-1]
        tokens = best.indices % logits.shape[-1]
        texts = torch.cat([_rows(running, parents), tokens[..., None]], dim=2)
        ends = (tokens == EOS) | (step == length)
        first = torch.arange(texts.shape[1]) < width
        ended = (best.values / step**penalty).masked_fill(~(ends & first), -torch.inf)
        done = done.best_of(texts, ended)
        going = best.values.masked_fill(tokens == EOS, -torch.inf).topk(min(width, len(first)))
        scores, running = going.values, _rows(texts, going.indices)
        hope = scores[:, 0] / (length if penalty > 0 else step) ** penalty
        if step == length or bool((hope <= done.scores[:, -1]).all()):
            break
        paths = paths.onward(parents.gather(1, going.indices), t5.shared(running[..., -1]))
    return done


@torch.inference_mode()
def sampled(
    t5: T5,
    encoded: Encoded,
    length: int,
    seed: int,
    count: int = 1,
    temperature: float = 1.0,
    nucleus: float = 1.0,
) -> Tensor:
    """Texts ``[b, count, l]`` drawn word by word, padded after their end.

    Args:
        t5: In evaluation mode.
        encoded: What is written about.
        length: At most so many tokens.
        seed: Of the draws.
        count: Texts of each.
        temperature: Logits are divided by this; near 0 the likeliest word is drawn.
        nucleus: Only the likeliest words whose probabilities sum to this are drawn (Holtzman et
            al. 2020).

    Raises:
        InputError: A number out of its range.
    """
    _check(length, count)
    if not 0 < temperature < torch.inf or not 0 < nucleus <= 1:
        raise InputError(
            f"temperature is {temperature} and nucleus {nucleus}; give a temperature above 0, and "
            "a nucleus above 0 and at most 1"
        )
    draws = torch.Generator().manual_seed(seed)
    paths = Paths.start(t5, encoded, [START], length)
    paths = replace(paths, states=paths.states.expand(-1, count, -1))
    parents = torch.arange(count).expand(len(encoded.lengths), -1)
    tokens: list[Tensor] = []
    ended = torch.zeros(parents.shape, dtype=torch.bool)
    for step in range(length):
        logits = t5.token_logits(paths.states)
        shares = ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(dim=-1)
        drawn = torch.multinomial(_nucleus(shares, nucleus).flatten(0, 1), 1, generator=draws)
        drawn = drawn.view(parents.shape).masked_fill(ended, PAD)
        tokens.append(drawn)
        ended = ended | (drawn == EOS)
        if ended.all() or step == length - 1:
            break
        paths = paths.onward(parents if step else torch.zeros_like(parents), t5.shared(drawn))
    return torch.stack(tokens, dim=2)


def _nucleus(shares: Tensor, most: float) -> Tensor:
    """Probabilities ``[..., v]`` without the tail beyond ``most``; the likeliest always stays."""
    ordered, places = shares.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill(before >= most, 0.0)
    return torch.zeros_like(shares).scatter(-1, places, kept)


def _check(length: int, width: int) -> None:
    if length < 1 or width < 1:
        raise InputError(
            f"a text of {length} tokens and {width} of them are asked for; give 1 or more"
        )


def _rows(texts: Tensor, which: Tensor) -> Tensor:
    """``[b, w, l]`` of ``[b, m, l]`` at ``[b, w]``."""
    return texts.gather(1, which[..., None].expand(-1, -1, texts.shape[2]))


def _padded(texts: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(texts, (0, length - texts.shape[2]), value=PAD)
