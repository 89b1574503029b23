"""A T5 reads a review: it writes a headline, or says how many stars were given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import torch
from numpy import float32
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from p5mm.model.network import Encoded, word_states
from p5mm.model.prompts import ABOUT_REVIEWS, Prompt, choose, read_prompts
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import PAD, START, level_tokens, prompt_tokens, tokens_of
from p5mm.ranking.writing import WRITTEN, beams

HEADLINE, STARS = "headline", "stars"
READ = 128  # tokens of a review that are read
BATCH = 128  # reviews that are read at once


@dataclass(frozen=True)
class Reading:
    """How a T5 is asked about reviews.

    Attributes:
        t5: Reads and answers.
        tokenizer: Of the T5.
        levels: Ratings, ascending; empty where no stars are known.
    """

    t5: T5
    tokenizer: Tokenizer
    levels: tuple[float, ...]

    def asked(self, family: str) -> list[int]:
        """Token ids of a family's prompt."""
        return prompt_tokens(self.tokenizer, choose(word_prompts(), family)[0], 1)

    def states(self, encoded: Encoded, family: str, words: Tensor) -> Tensor:
        """Decoder states ``[n, 1 + l, d]``: after a prompt, and after each word ``[n, l]``."""
        return word_states(self.t5, encoded, self.asked(family), words)

    def star_logits(self, encoded: Encoded) -> Tensor:
        """``[n, levels]``."""
        none = torch.zeros(len(encoded.lengths), 0, dtype=torch.int64)
        answers = torch.tensor(level_tokens(self.tokenizer, len(self.levels)))
        return self.t5.token_logits(self.states(encoded, STARS, none)[:, 0], answers)

    @torch.inference_mode()
    def headlines(self, texts: Sequence[str], width: int = 4) -> list[str]:
        """A headline of each review, by beams."""
        found: list[str] = []
        for encoded in self._read(texts):
            written = beams(self.t5, encoded, WRITTEN, width, prompt=self.asked(HEADLINE))
            found += [self.tokenizer.decode(tokens).strip() for tokens in written.texts()]
        return found

    @torch.inference_mode()
    def stars(self, texts: Sequence[str]) -> NDArray[float32]:
        """``[n]`` the expected rating of each review."""
        values = torch.tensor(self.levels)
        found = [self.star_logits(read).softmax(-1) @ values for read in self._read(texts)]
        rated: NDArray[float32] = torch.cat([torch.empty(0), *found]).numpy()
        return rated

    def _read(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for start in range(0, len(texts), BATCH):
            part = tokens_of(self.tokenizer, texts[start : start + BATCH], READ)
            yield read_words(self.t5, part)


def read_words(t5: T5, words: Tensor) -> Encoded:
    """Texts ``[n, l]`` of token ids as a T5 reads them: both ways, after a start token."""
    lengths = (words != PAD).sum(dim=1)
    words = words[:, : int(lengths.max())]
    start = torch.full((len(words), 1), START)
    there = torch.arange(1 + words.shape[1]) <= lengths[:, None]
    memory = t5.encoder(t5.shared(torch.cat([start, words], dim=1)), causal=False, mask=there)
    return Encoded(memory, memory[:, :1], lengths, 1)


@cache
def word_prompts() -> tuple[Prompt, ...]:
    """The prompts about reviews that come with p5mm."""
    with resources.as_file(resources.files("p5mm.pretraining").joinpath("prompts.txt")) as path:
        return read_prompts(path, ABOUT_REVIEWS)
