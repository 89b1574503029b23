"""The decoder's tasks: families of the prompt file in tokens."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from p5mm.config import Config
from p5mm.errors import unknown
from p5mm.model.prompts import Prompt, choose
from p5mm.model.tokenizer import level_tokens, prompt_tokens
from p5mm.training.task_objective import Task

CODES_WEIGHT = 1.0  # beside the others' .5: a code has several digits to learn
TRAINED_FAMILIES = ("sequential", "direct", "rating", "codes")


def make_tasks(
    config: Config, prompts: Sequence[Prompt], tokenizer: Tokenizer, levels: Sequence[float]
) -> list[Task]:
    """The families that the config trains, in tokens; rating is left out where nobody rates.

    Raises:
        InputError: A family is unknown, or cannot be trained yet.
    """
    tasks = []
    for family, weight in _wanted(config).items():
        if family not in TRAINED_FAMILIES:
            raise unknown("task in train.tasks", family, TRAINED_FAMILIES)
        if weight <= 0 or (family == "rating" and len(levels) < 2):
            continue
        asked = [
            prompt_tokens(tokenizer, prompt, config.model.soft_tokens)
            # What comes next may be answered in a code as well.
            for prompt in choose(prompts, "sequential" if family == "codes" else family)
        ]
        answers = level_tokens(tokenizer, len(levels)) if family == "rating" else ()
        tasks.append(Task(family, weight, asked, answers))
    return tasks


def _wanted(config: Config) -> dict[str, float]:
    """The weight of each family; codes are learned wherever they are generated."""
    tasks = dict(config.train.tasks)
    if config.retrieval.generate and not tasks.get("codes"):
        tasks["codes"] = CODES_WEIGHT
    return tasks
