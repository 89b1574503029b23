"""What a training owes to its caller."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from p5mm.config import TrainConfig
from p5mm.errors import InputError
from p5mm.training.fit import fit
from p5mm.training.fitting import Fitting
from p5mm.training.training_data import TrainingData, training_digest


def test_the_callers_random_numbers_are_left_alone(toys):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(toys.toy_dataset(), toys.toy_config(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_digest_knows_users_items_order_and_ratings(toys):
    data = TrainingData.of(toys.toy_dataset())
    users, items, train = list(data.users), list(data.items), data.split.train
    digest = training_digest(users, items, train)
    assert digest == training_digest(data.users, data.items, data.split.train)
    turned = type(train)(train.items[::-1].copy(), train.offsets, train.ratings)
    unrated = type(train)(train.items, train.offsets, None)
    rated = type(train)(train.items, train.offsets, train.ratings + np.float32(1))
    others = {
        training_digest(users[::-1], items, train),
        training_digest(users, [*items[:-1], "x"], train),
        training_digest([users[0] + users[1], *users[2:]], items, train),
        training_digest(users, items, turned),
        training_digest(users, items, unrated),
        training_digest(users, items, rated),
    }
    assert len(others) == 6
    assert digest not in others


def test_a_trained_model_keeps_the_digest_of_what_it_was_trained_on(fitted):
    split = fitted.split
    assert fitted.fitted.trained_on == training_digest(
        fitted.split_users, fitted.fitted.items, split.train
    )


@pytest.mark.parametrize(
    ("kind", "message"), [("ivff", "unknown index kind"), ("0.1kB", "0.0001 MB are allowed")]
)
def test_an_index_that_cannot_be_made_is_told_before_the_training(toys, monkeypatch, kind, message):
    for step in ("rehearse", "retriever"):
        monkeypatch.setattr(Fitting, step, None)
    config = toys.toy_config(epochs=1)
    config = replace(config, retrieval=replace(config.retrieval, index=kind))
    with pytest.raises(InputError, match=message):
        fit(toys.toy_dataset(), config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("warmup", 0), ("seed", -1), ("negatives", -1), ("epochs", -1),
        ("learning_rate", 0.0), ("learning_rate", float("nan")), ("weight_decay", -0.1),
        ("weight_decay", float("nan")), ("tasks", {"rating": -1.0}),
        ("tasks", {"rating": float("nan")}),
    ],
)  # fmt: skip
def test_settings_without_sense_are_named(key, value):
    with pytest.raises(InputError, match=f"train.{key}"):
        TrainConfig(**{key: value})


@pytest.mark.parametrize("how", ["missing", "other shape"])
def test_a_damaged_checkpoint_is_told(toys, tmp_path, how):
    fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={}), checkpoint=tmp_path)
    file = next((tmp_path / "retriever").glob("*.safetensors"))
    tensors = load_file(file)
    if how == "missing":
        tensors.pop("weight.0")
    else:
        tensors["weight.0"] = tensors["weight.0"][:1].clone()
    save_file(tensors, file)
    with pytest.raises(InputError, match=file.name):
        fit(toys.toy_dataset(), toys.toy_config(epochs=1, tasks={}), checkpoint=tmp_path)
