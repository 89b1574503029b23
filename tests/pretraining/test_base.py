"""Base folders: what is refused before a shop is trained from one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import T5Config as HFConfig
from transformers import T5ForConditionalGeneration

from p5mm.errors import InputError
from p5mm.model.base import read_base
from p5mm.model.tokenizer import save_tokenizer, train_tokenizer
from p5mm.pretraining.pretrain import pretrain
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit


@pytest.fixture(scope="module")
def made(toys):
    return pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=1, tasks={}))


@pytest.fixture
def folder(made, tmp_path):
    made.write(tmp_path / "base")
    return tmp_path / "base"


def begun(toys, folder, **model):
    config = toys.toy_config(epochs=0)
    return replace(config, model=replace(config.model, base=str(folder), **model))


def arrays(folder, **changes):
    kept = load_file(folder / "base.safetensors")
    for name, change in changes.items():
        value = change(kept.get(name)) if callable(change) else change
        if value is None:
            kept.pop(name)
        else:
            kept[name] = value
    save_file(kept, folder / "base.safetensors")


def about(folder, **changes):
    path = folder / "base.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


FUSION = "items.fusion.project.text.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({FUSION: None}, "not those of its fusion"),
        ({FUSION: lambda a: a[:-1]}, "not those of its fusion"),
        ({FUSION: lambda a: a * np.nan}, "no finite number"),
        ({FUSION: lambda a: a.astype(np.float64)}, "float64"),
        ({"history.start": None}, "not those of its fusion"),
        ({"items.trained": np.ones(41, np.bool_)}, "unknown array"),
        ({"items.residual.weight": np.ones((41, 64), np.float32)}, "unknown array"),
        ({"t5.shared.weight": np.ones((4, 4), np.float32)}, "unknown array"),
        ({"odd": np.ones(1, np.float32)}, "unknown array"),
    ],
)
def test_damaged_arrays(toys, folder, changes, message):
    arrays(folder, **changes)
    with pytest.raises(InputError, match=message):
        fit(toys.toy_dataset(), begun(toys, folder))


def test_vectors_of_another_length(toys, folder):
    about(folder, dims={"style": 6, "text": 3})
    with pytest.raises(InputError, match="reads text vectors of 3 numbers"):
        fit(toys.toy_dataset(), begun(toys, folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {}}, "config"),
        ({"fingerprints": {"odd.name": "x"}, "dims": {"odd.name": 3}}, "no name of a modality"),
        ({"fingerprints": 3}, "fingerprints"),
        ({"learned": [{"name": "x"}]}, "learned"),
        ({"p5mm_base": 9}, "format 9"),
        ({"words": ["poems"]}, "poems"),
        ({"dims": {"text": 12}}, "dims are not those"),
        ({"dims": {"text": 0, "style": 6}}, "dims are not those"),
        ({"dims": {"text": 10**9, "style": 6}}, "dims are not those"),
        ({"words": 3}, "words"),
        ({"levels": [5, 5, 1]}, "levels must ascend"),
        ({"levels": list(range(12))}, "10 at most"),
        ({"levels": [10**30]}, "levels must ascend"),
        ({"levels": ["5"]}, "levels"),
    ],
)
def test_a_strange_base_json(folder, changes, message):
    about(folder, **changes)
    with pytest.raises(InputError, match=message):
        read_base(folder)


def test_sizes_that_the_t5_does_not_have(folder):
    config = json.loads((folder / "base.json").read_text())["config"]
    about(folder, config=config | {"d_model": 64})
    with pytest.raises(InputError, match="json says"):
        read_base(folder)


def test_a_tokenizer_of_more_words_than_the_t5(folder):
    texts = [f"word{n} " * 9 for n in range(3_000)]
    save_tokenizer(train_tokenizer(texts, 5_000), folder / "t5" / "tokenizer.json")
    with pytest.raises(InputError, match="highest token"):
        read_base(folder)


def test_code_of_a_stranger_is_not_asked_for(folder):
    config = json.loads((folder / "base.json").read_text())["config"]
    about(folder, config=config | {"fusion": "evil:Class"})
    with pytest.raises(InputError, match="not p5mm's own code"):
        read_base(folder)


def test_a_base_replaces_a_base_and_nothing_else(made, tmp_path):
    made.write(tmp_path / "base")
    made.write(tmp_path / "base")
    for name in ("t5", "base.json", "notes.txt"):
        other = tmp_path / f"with {name}"
        other.mkdir()
        (other / name).write_text("{}")
        with pytest.raises(InputError, match="no base of p5mm alone"):
            made.write(other)
        assert (other / name).read_text() == "{}"


def test_nothing_to_generate_on_the_first_day(toys, folder):
    config = begun(toys, folder)
    config = replace(config, retrieval=replace(config.retrieval, generate=True))
    with pytest.raises(InputError, match="learns no codes"):
        fit(toys.toy_dataset(), config)


def test_a_base_learns_something(toys):
    with pytest.raises(InputError, match="epochs is 0"):
        pretrain({"toy": toys.toy_dataset()}, toys.toy_config(epochs=0, tasks={}))


def test_an_ablation_holds_in_pretraining_too(toys, made):
    config = toys.toy_config(epochs=1, tasks={})
    config = replace(config, encoders=replace(config.encoders, ablate={"text": "zero"}))
    assert pretrain({"toy": toys.toy_dataset()}, config).digest != made.digest


def test_a_loaded_t5_goes_through_a_base(toys, tmp_path):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_heads": 3, "vocab_size": 600,
             "num_layers": 1, "num_decoder_layers": 1}  # fmt: skip
    T5ForConditionalGeneration(HFConfig(**sizes)).save_pretrained(tmp_path / "hf")
    save_tokenizer(train_tokenizer(["ring step"] * 9, 400), tmp_path / "hf" / "tokenizer.json")
    config = toys.toy_config(epochs=1, tasks={"title": 0.5})
    config = replace(config, model=replace(config.model, t5=str(tmp_path / "hf")))
    pretrain({"toy": toys.toy_dataset()}, config).write(tmp_path / "base")
    assert str(tmp_path) not in (tmp_path / "base" / "base.json").read_text()
    recommender = Recommender(fit(toys.toy_dataset(), begun(toys, tmp_path / "base")))
    recommender.save(tmp_path / "model")
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.recommend(["u1"], k=3).equals(recommender.recommend(["u1"], k=3))
    with pytest.raises(InputError, match="leave one of the two out"):
        fit(toys.toy_dataset(), begun(toys, tmp_path / "base", t5=str(tmp_path / "hf")))


def test_a_base_larger_than_the_memory_is_told_before_it_is_opened(toys, folder, monkeypatch):
    size = sum((folder / of).stat().st_size for of in ("base.safetensors", "t5/model.safetensors"))
    for path in folder.rglob("model.safetensors"):
        path.write_bytes(b"x" * path.stat().st_size)  # whoever opens it finds it damaged
    monkeypatch.setattr("p5mm.model.base.memory", lambda: 4 * size)
    with pytest.raises(InputError, match=r"GiB of memory for 12 copies.*larger machine"):
        fit(toys.toy_dataset(), replace(begun(toys, folder), train=toys.toy_config(epochs=1).train))
    with pytest.raises(InputError, match=r"damaged|is no"):
        fit(toys.toy_dataset(), begun(toys, folder))  # ranks as it is: there is room for it
    monkeypatch.setattr("p5mm.model.base.memory", lambda: size)
    with pytest.raises(InputError, match="2 copies"):
        fit(toys.toy_dataset(), begun(toys, folder))
