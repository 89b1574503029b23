import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from p5mm.errors import InputError
from p5mm.model.prompts import Prompt, read_prompts
from p5mm.model.tokenizer import (
    ITEM,
    START,
    level_tokens,
    load_tokenizer,
    prompt_tokens,
    train_tokenizer,
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(prompt.text for prompt in read_prompts())


def test_any_text_comes_back(tokenizer):
    for text in (" what comes next ?", " Käse, 寿司 & \N{SAUROPOD}"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_words_of_the_prompts_are_short(tokenizer):
    words = [w for p in read_prompts() for w in p.text.split() if "{" not in w]
    ids = sum(len(tokenizer.encode(word).ids) for word in words)
    assert ids < 1.6 * len(words)


def test_the_same_prompts_give_the_same_tokenizer(tokenizer):
    again = train_tokenizer(prompt.text for prompt in read_prompts())
    assert again.to_str() == tokenizer.to_str()


def test_a_slot_is_as_many_places_as_soft_tokens(tokenizer):
    prompt = Prompt("rating", False, "how good is {item} ?", "{rating}")
    ids = prompt_tokens(tokenizer, prompt, 3)
    assert ids[0] == START
    assert ids.count(ITEM) == 3
    first = ids.index(ITEM)
    assert ids[first : first + 3] == [ITEM] * 3
    assert tokenizer.decode(ids[1:first]) == " how good is"
    assert tokenizer.decode(ids[first + 3 :]) == " ?"


def test_levels_are_tokens_of_their_own(tokenizer):
    found = level_tokens(tokenizer, 10)
    assert len(set(found)) == 10
    assert [tokenizer.decode([one]).strip() for one in found] == [str(n) for n in range(1, 11)]


def test_a_tokenizer_that_splits_levels_is_refused():
    split = Tokenizer(models.WordLevel({str(n): n for n in range(10)}, unk_token="0"))
    split.pre_tokenizer = pre_tokenizers.Digits(individual_digits=True)
    assert list(level_tokens(split, 9)) == list(range(1, 10))
    with pytest.raises(InputError, match="no single token for the rating level '10'"):
        level_tokens(split, 10)


def test_a_folder_without_tokenizer(tmp_path):
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)
