"""Presets by name from anywhere, files by path, and errors that say what to type."""

import json
from dataclasses import asdict, fields, replace

import pytest

from p5mm import config as config_module
from p5mm.config import Config, config_from_dict, sections
from p5mm.errors import InputError
from p5mm.presets import presets, read_config
from p5mm.serving.recommender import Recommender


def test_every_preset_is_read_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = presets()
    assert {"default", "ml-100k", "amazon-beauty", "stickers"} <= set(known)
    for name, about in known.items():
        assert isinstance(read_config(name), Config)
        assert 0 < len(about) <= 70
        assert not about.startswith("p5mm")


def test_overrides_win_over_the_preset():
    made = read_config("ml-100k", ["--train.epochs", "3", "--similarity.decay", "0.7"])
    assert made.model.dropout == read_config("ml-100k").model.dropout == 0.3
    assert (made.train.epochs, made.similarity.decay) == (3, 0.7)


def test_what_is_no_preset_names_the_nearest():
    with pytest.raises(InputError, match="unknown preset 'defualt'; did you mean 'default'"):
        read_config("defualt")
    with pytest.raises(InputError, match=r"there is no config none.yaml; .* default"):
        read_config("none.yaml")


def test_a_file_wins_over_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_text("train: {epochs: 7}")
    assert read_config("default").train.epochs == 7


def test_a_configuration_survives_json():
    made = read_config("default", ["--data.text", '["name"]', "--train.tasks", '{"direct": 1.0}'])
    assert config_from_dict(json.loads(json.dumps(asdict(made)))) == made


@pytest.mark.parametrize("name", [section.name for section in fields(Config)])
def test_a_saved_configuration_falls_back_to_no_default(name):
    whole = asdict(Config())
    key = next(iter(whole[name]))
    for broken in (
        {k: v for k, v in whole.items() if k != name},
        whole | {name: {k: v for k, v in whole[name].items() if k != key}},
        whole | {name: whole[name] | {"odd": 1}},
        whole | {name: 3},
    ):
        with pytest.raises(InputError, match=f"section '{name}'"):
            config_from_dict(broken)


def test_an_old_model_answers_as_it_did_when_defaults_change(toy, tmp_path, monkeypatch):
    """What changes an answer is saved with the model; nothing is left to today's defaults."""
    Recommender(toy).save(tmp_path / "m")
    before = Recommender(toy).recommend(k=5)
    others = {
        "similarity": {"decay": 0.9, "neighbours": 1},
        "cold": {"neighbours": 1, "sharpness": 0.1, "ridge": 99.0, "candidates": 0, "shortlist": 0},
        "rating": {"decay": 0.1, "item_shrink": 99.0, "user_shrink": 99.0, "spread": 9.0},
        "retrieval": {"candidates": 1, "shortlist": 1},
        "model": {"temperature": 2.0, "max_history": 1},
    }
    changed = {name: replace(sections()[name], **values) for name, values in others.items()}
    for name, section in changed.items():
        kind = type(section)
        fresh = {f.name: getattr(section, f.name) for f in fields(kind)}
        monkeypatch.setattr(kind.__init__, "__defaults__", tuple(fresh.values()), raising=False)
        assert kind() == section, name
    assert config_module.Config().retrieval.candidates == 1
    again = Recommender.load(tmp_path / "m")
    assert again.recommend(k=5).equals(before)
    assert again.model.config == toy.config
