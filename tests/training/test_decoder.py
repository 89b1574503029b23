"""A decoder trained anew on a finished retriever is what a whole training would have given."""

import pytest
import torch

from p5mm.errors import InputError
from p5mm.training.decoder import with_tasks


def test_the_same_tasks_give_the_same_model(fitted):
    again = with_tasks(fitted, fitted.config.train.tasks)
    before, after = fitted.network.state_dict(), again.network.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
    assert again.fitted.weights == fitted.fitted.weights
    assert again.fitted.handicap == fitted.fitted.handicap
    assert again.fitted.lift == fitted.fitted.lift


def test_a_specialist_has_the_retriever_and_one_task(fitted):
    one = with_tasks(fitted, {"rating": 0.5})
    assert one.config.train.tasks == {"rating": 0.5}
    assert torch.equal(one.scorer.vectors, fitted.scorer.vectors)
    assert set(one.fitted.task_log[0]) & {"sequential", "direct", "rating"} == {"rating"}
    assert "decoder" not in one.fitted.weights  # it was not taught to rank
    decoder = one.network.t5.decoder.state_dict(), fitted.network.t5.decoder.state_dict()
    assert any(not torch.equal(decoder[0][name], decoder[1][name]) for name in decoder[0])


def test_the_base_is_left_as_it_was(fitted):
    before = {name: tensor.clone() for name, tensor in fitted.network.state_dict().items()}
    with_tasks(fitted, {"direct": 0.2})
    for name, tensor in fitted.network.state_dict().items():
        assert torch.equal(tensor, before[name])
    with pytest.raises(InputError, match=r"unknown task in train\.tasks 'juggling'"):
        with_tasks(fitted, {"juggling": 1.0})
