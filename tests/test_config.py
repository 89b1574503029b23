from dataclasses import asdict
from pathlib import Path

import pytest

from p5mm.config import Config, EncoderConfig, ModelConfig, TrainConfig, config_from_dict
from p5mm.errors import InputError
from p5mm.presets import read_config

PRESETS = sorted(Path(__file__).parents[1].glob("configs/*.yaml"))


@pytest.fixture
def write(tmp_path):
    def written(text):
        (tmp_path / "c.yaml").write_text(text)
        return tmp_path / "c.yaml"

    return written


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_a_config_and_comes_back_from_json(path):
    config = read_config(path)
    assert config_from_dict(asdict(config)) == config
    assert config.data.root is None


def test_presets_are_there():
    assert {"default", "ml-100k", "amazon-beauty"} <= {path.stem for path in PRESETS}


def test_what_is_not_written_is_the_default(write):
    config = read_config(write("train:\n  epochs: 3\n"))
    assert config == Config(train=TrainConfig(epochs=3))


def test_lists_dictionaries_and_nothing(write):
    config = read_config(
        write("data: {text: [title, genre]}\nencoders: {others: ['vector:sound']}\n"
              "train: {tasks: {direct: 1, rating: 0.5}}\n")
    )  # fmt: skip
    assert config.data.text == ("title", "genre")
    assert config.encoders.others == ("vector:sound",)
    assert config.train.tasks == {"direct": 1, "rating": 0.5}


def test_dotted_keys_override_the_file(write):
    file = write("train: {epochs: 3, seed: 1}\nmodel: {fusion: concat}\n")
    config = read_config(file, ["--train.epochs", "9", "--data.k_core=5", "--model.d_model", "32"])
    assert (config.train.epochs, config.train.seed, config.data.k_core) == (9, 1, 5)
    assert config.model == ModelConfig(fusion="concat", d_model=32)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("train: {epoch: 3}", [], "'train.epoch'; did you mean 'train.epochs'"),
        ("trian: {epochs: 3}", [], "'trian.epochs'; did you mean 'train.epochs'"),
        ("model: {t5: nano}", ["--train.epoch", "3"], "did you mean 'train.epochs'"),
        ("model: {t5: nano}", ["--modle.fusion", "gate"], "did you mean 'model.fusion'"),
        ("train: {epochs: many}", [], r"c\.yaml: .*train\.epochs.*int.*many"),
        ("train: {precision: fp8}", [], r"train\.precision"),
        ("encoders: {load_seconds: .inf}", [], "load_seconds is inf; it must be"),
        ("cold: {candidates: -1}", [], r"cold\.candidates is -1; give 0 or more"),
        ("model: {t5: nano}", ["--train.epochs"], "expected one argument"),
        ("model: {t5: nano}", ["train"], "train"),
        ("model: nano", [], r"c\.yaml: .*model"),
        ("train: [", [], r"c\.yaml: .*parsing"),
    ],
)
def test_what_is_wrong_is_told(write, text, overrides, message):
    with pytest.raises(InputError, match=message):
        read_config(write(text), overrides)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (ModelConfig, {"dropout": 1.0}),
        (ModelConfig, {"id_dropout": -0.1}),
        (ModelConfig, {"soft_tokens": 0}),
        (TrainConfig, {"epochs": -1}),
    ],
)
def test_values_out_of_range(part, values, write):
    with pytest.raises(InputError, match="must be at least"):
        part(**values)
    name = "model" if part is ModelConfig else "train"
    with pytest.raises(InputError, match="must be at least"):
        read_config(write(f"{name}: {values}"))


def test_modalities_are_ablated_by_name(write):
    file = write("encoders: {ablate: {text: shuffled}}\n")
    assert read_config(file).encoders.ablate == {"text": "shuffled"}
    both = read_config(file, ["--encoders.ablate.image", "zero"])
    assert both.encoders.ablate == {"text": "shuffled", "image": "zero"}
    one = read_config(file, ["--encoders.ablate", "{image: real}"])
    assert one.encoders.ablate == {"image": "real"}
    assert config_from_dict(asdict(both)) == both


def test_an_unknown_ablation_is_told(write):
    with pytest.raises(InputError, match=r"did you mean 'zero'\? Allowed: real, shuffled, zero"):
        EncoderConfig(ablate={"image": "zeros"})
    with pytest.raises(InputError, match=r"encoders\.ablate.*'real', 'zero', 'shuffled'.*zeros"):
        read_config(write("model: {t5: nano}"), ["--encoders.ablate.image", "zeros"])


def test_a_config_that_is_not_there():
    with pytest.raises(InputError, match=r"there is no config none\.yaml"):
        read_config("none.yaml")


def test_a_file_of_comments_gives_the_defaults(tmp_path):
    (tmp_path / "c.yaml").write_text("# nothing yet\n")
    assert read_config(tmp_path / "c.yaml", ["--train.epochs", "3"]).train.epochs == 3
