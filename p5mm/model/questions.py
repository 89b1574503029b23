"""The ways to ask a trained model for one task."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from p5mm.model.prompts import Prompt, choose
from p5mm.model.tokenizer import prompt_tokens


@dataclass(frozen=True)
class Question:
    """A prompt in the tokens of one model.

    Attributes:
        name: "seen 1", "seen 2", ..., "held-out 1", ...
        held_out: The model was not trained with it.
        tokens: What the decoder reads.
    """

    name: str
    held_out: bool
    tokens: tuple[int, ...]


def questions(
    tokenizer: Tokenizer, prompts: Sequence[Prompt], family: str, soft_tokens: int
) -> list[Question]:
    """The seen prompts of a family, then the held-out ones.

    Raises:
        InputError: The family has no seen prompt, or no held-out one.
    """
    return [
        Question(
            f"{'held-out' if held_out else 'seen'} {number}",
            held_out,
            tuple(prompt_tokens(tokenizer, prompt, soft_tokens)),
        )
        for held_out in (False, True)
        for number, prompt in enumerate(choose(prompts, family, held_out), start=1)
    ]
