"""What somebody would say of an item: a headline that the decoder writes."""

import numpy as np
import torch
from numpy.typing import NDArray

from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.model.prompts import choose
from p5mm.model.tokenizer import prompt_tokens
from p5mm.ranking.trained_model import TrainedModel
from p5mm.ranking.writing import WRITTEN, beams

REVIEW = "review"  # the family of prompts
TOGETHER = 128  # headlines that are written at once


@torch.inference_mode()
def written_headlines(
    model: TrainedModel, histories: Histories, items: NDArray[np.int64], width: int = 4
) -> list[str]:
    """The headlines of reviews that nobody has written yet.

    Args:
        model: Trained with the task review.
        histories: ``m``, in catalog rows, of who would write.
        items: ``[m]`` int64 catalog rows of what about.
        width: Beams.

    Raises:
        InputError: The model has not learned to write headlines, or the width is below 1.
    """
    check_writes(model)
    scorer, network, found = model.scorer, model.network, []
    prompt = prompt_tokens(
        model.tokenizer, choose(model.prompts, REVIEW)[0], model.config.model.soft_tokens
    )
    for start in range(0, len(items), TOGETHER):
        rows = np.arange(start, min(start + TOGETHER, len(items)))
        encoded = network.encode(scorer.tokens, scorer.batch(histories.select(rows)))
        slots = scorer.tokens[torch.from_numpy(items[rows])]
        written = beams(network.t5, encoded, WRITTEN, width, prompt=prompt, slots=slots)
        found += [model.tokenizer.decode(tokens).strip() for tokens in written.texts()]
    return found


def check_writes(model: TrainedModel) -> None:
    """Check that a model has learned to write headlines.

    Raises:
        InputError: It has not.
    """
    if not model.fitted.task_log or not model.config.train.tasks.get(REVIEW):
        learned = ", ".join(model.config.train.tasks) or "nothing"
        raise InputError(
            f"this model was trained on {learned}, not on {REVIEW}; train one on a log with a "
            f"column headline and --train.tasks '{{sequential: 0.5, {REVIEW}: 0.5}}'"
        )
