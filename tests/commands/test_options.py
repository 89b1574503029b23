"""Options are those of the dataclasses: types, defaults and help."""

import argparse

import pytest

from p5mm.commands.options import add_options, attributes, keys, options_of
from p5mm.config import DataConfig, EncoderConfig, sections

FLAGS = {"image": "--image-encoder", "others": "--encoder", "workers": "--workers"}


def parsed(*arguments, section=None, flags=FLAGS):
    section = section or EncoderConfig()
    parser = argparse.ArgumentParser()
    add_options(parser, section, flags)
    return options_of(parser.parse_args(arguments), section, flags)


def test_nothing_given_is_the_default():
    assert parsed() == EncoderConfig()
    assert parsed(section=DataConfig(), flags={"text": "--text"}) == DataConfig()


def test_values_have_the_types_of_the_dataclass():
    made = parsed("--image-encoder", "none", "--encoder", "a:B", "c:D", "--encoder", "e:F",
                  "--workers", "0")  # fmt: skip
    assert made == EncoderConfig(image="none", others=("a:B", "c:D", "e:F"), workers=0)
    data = parsed("--text", "name", "kind", section=DataConfig(), flags={"text": "--text"})
    assert data.text == ("name", "kind")
    with pytest.raises(SystemExit):
        parsed("--workers", "many")


def test_help_is_what_the_docstring_says():
    parser = argparse.ArgumentParser()
    add_options(parser, EncoderConfig(), FLAGS)
    text = " ".join(parser.format_help().split())
    assert "Spec of the image encoder; none to leave pictures out. (default: embedded)" in text


def test_every_key_of_the_configuration_has_a_meaning():
    told = keys(sections())
    assert len(told) > 40
    assert all(about for _, _, about in told)
    about = "Items that somebody took, which the retriever hands to the reranker."
    assert ("retrieval.candidates", 100, about) in told


def test_attributes_of_several_lines_are_one():
    assert attributes(DataConfig)["shuffle_ties"] == (
        "Seed of a random order of what a user took at one time; the order of the file where None."
    )
