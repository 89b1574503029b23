"""The prompt file: P5's five task families as lines that anyone can edit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from p5mm.errors import InputError, unknown

FAMILIES = ("rating", "sequential", "explanation", "review", "direct")
ABOUT_REVIEWS = ("headline", "stars")  # families that a base is asked, not a shop's model
ANSWERS = ("{item}", "{rating}", "{text}")
SLOT = "{item}"


@dataclass(frozen=True)
class Prompt:
    """One way to ask.

    Attributes:
        family: One of P5's task families, or of those about a review.
        held_out: Never trained with.
        text: What the decoder reads; ``{item}`` stands for the soft tokens of the item in question.
        answer: ``{item}``, ``{rating}`` or ``{text}``.
    """

    family: str
    held_out: bool
    text: str
    answer: str

    @property
    def line(self) -> str:
        """The prompt as a line of a prompt file."""
        use = "held-out" if self.held_out else "seen"
        return " | ".join([self.family, use, self.text, self.answer])

    @property
    def pieces(self) -> list[str]:
        """The text around the slots, with ``{item}`` where a slot is.

        Example:
            >>> Prompt("rating", False, "how good is {item} ?", "{rating}").pieces
            ['how good is', '{item}', '?']
        """
        parts = re.split(r"(\{item\})", self.text)
        return [part.strip() for part in parts if part.strip()]


def read_prompts(
    path: Path | None = None, families: Sequence[str] = FAMILIES
) -> tuple[Prompt, ...]:
    """The prompts of a file; those that come with p5mm where None.

    Args:
        path: The file.
        families: That it may name.

    Raises:
        InputError: A line has not four fields, or a field is none of the allowed ones.
    """
    if path is None:
        text = resources.files("p5mm.model").joinpath("prompts.txt").read_text(encoding="utf-8")
    else:
        if not path.is_file():
            raise InputError(f"there is no prompt file {path} (train.prompts)")
        text = path.read_text(encoding="utf-8")
    lines = enumerate(text.splitlines(), start=1)
    kept = [(n, line) for n, line in lines if line.strip() and not line.startswith("#")]
    where = path or "prompts.txt"
    return tuple(_prompt(line, f"{where}, line {n}", families) for n, line in kept)


def choose(prompts: Sequence[Prompt], family: str, held_out: bool = False) -> list[Prompt]:
    """The prompts of one family that are trained with, or those held out.

    Raises:
        InputError: There is none.
    """
    chosen = [p for p in prompts if p.family == family and p.held_out == held_out]
    if not chosen:
        kind = "held-out" if held_out else "seen"
        raise InputError(
            f"no {kind} prompt of the family '{family}'; add a line to the prompt file"
        )
    return chosen


def _prompt(line: str, where: str, families: Sequence[str]) -> Prompt:
    fields = [field.strip() for field in line.split("|")]
    if len(fields) != 4:
        raise InputError(
            f"{where}: {len(fields)} fields; write family | seen or held-out | prompt | answer"
        )
    family, use, text, answer = fields
    if family not in families:
        raise unknown(f"family in {where}", family, families)
    if use not in ("seen", "held-out"):
        raise unknown(f"use in {where}", use, ["seen", "held-out"])
    if answer not in ANSWERS:
        raise unknown(f"answer in {where}", answer, ANSWERS)
    slots = set(re.findall(r"\{.*?\}", text)) - {SLOT}
    if slots:
        raise unknown(f"slot in {where}", slots.pop(), [SLOT])
    if answer == SLOT and SLOT in text:
        raise InputError(
            f"{where}: the answer is {SLOT}, so the prompt knows no item yet; take {SLOT} out of it"
        )
    return Prompt(family, use == "held-out", text, answer)
