"""Texts of our T5 against transformers' generate, with the same random weights."""

import copy

import pytest
import torch
from transformers import T5Config as HFConfig
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from p5mm.errors import InputError
from p5mm.model.network import Encoded
from p5mm.model.t5 import load_t5
from p5mm.model.tokenizer import EOS, PAD
from p5mm.ranking.writing import Written, beams, sampled

SIZES = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_heads": 3, "vocab_size": 12,
         "num_layers": 2, "num_decoder_layers": 2}  # fmt: skip
LENGTHS = torch.tensor([5, 2, 0, 4])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Hugging Face's model and ours; few words, so that texts end."""
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(3)
    ids = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": PAD}
    theirs = T5ForConditionalGeneration(HFConfig(**SIZES, **ids)).eval()
    for parameter in theirs.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.4)
    theirs.save_pretrained(folder)
    return theirs, load_t5(folder).eval()


@pytest.fixture(scope="module")
def encoded():
    memory = torch.randn(4, 6, 16, generator=torch.Generator().manual_seed(1)) * 2
    return Encoded(memory, memory, LENGTHS, 1)


def generated(theirs, encoded, **how):
    """Token ids that transformers writes, without its start token and padding."""
    seen = torch.arange(6) <= encoded.lengths[:, None]
    if how.get("num_beams", 1) > 1:
        how["early_stopping"] = "never"
    found = theirs.generate(
        encoder_outputs=BaseModelOutput(encoded.memory),
        attention_mask=seen.long(),
        do_sample=False,
        **how,
    )
    return [[t for t in row[1:].tolist() if t not in (PAD, EOS)] for row in found]


@pytest.mark.parametrize("length", [1, 4, 12])
def test_greedy_texts_are_those_of_transformers(pair, encoded, length):
    theirs, ours = pair
    assert beams(ours, encoded, length).texts() == generated(theirs, encoded, max_new_tokens=length)


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("length", [3, 10])
def test_beams_are_those_of_transformers(pair, encoded, width, penalty, length):
    theirs, ours = pair
    found = beams(ours, encoded, length, width, penalty).texts()
    expected = generated(
        theirs, encoded, max_new_tokens=length, num_beams=width, length_penalty=penalty
    )
    assert found == expected


def test_a_text_alone_is_the_same(pair, encoded):
    _, ours = pair
    together = beams(ours, encoded, 8, 3)
    for row in range(4):
        one = Encoded(encoded.memory[[row]], encoded.queries[[row]], LENGTHS[[row]], 1)
        alone = beams(ours, one, 8, 3)
        assert alone.texts() == [together.texts()[row]]
        torch.testing.assert_close(alone.scores, together.scores[[row]])


def test_scores_are_log_probabilities_of_whole_texts(pair, encoded):
    theirs, ours = pair
    found = beams(ours, encoded, 6, 3, penalty=0.0)
    seen = (torch.arange(6) <= LENGTHS[:, None]).long()
    for row in range(4):
        for beam in range(3):
            words = found.tokens[row, beam]
            words = (
                words[: 1 + int((words == EOS).int().argmax())] if (words == EOS).any() else words
            )
            labels = words[None]
            with torch.inference_mode():
                logits = theirs(
                    encoder_outputs=(encoded.memory[[row]],), attention_mask=seen[[row]],
                    decoder_input_ids=torch.cat([torch.tensor([[PAD]]), labels[:, :-1]], 1),
                ).logits.log_softmax(-1)  # fmt: skip
            expected = logits.gather(2, labels[..., None]).sum()
            assert found.scores[row, beam] == pytest.approx(float(expected), abs=1e-3)


def test_a_wider_search_finds_nothing_worse(pair, encoded):
    _, ours = pair
    narrow, wide = (beams(ours, encoded, 6, width, 0.0).scores[:, 0] for width in (1, 12))
    assert (wide >= narrow - 1e-5).all()


def test_samples_are_drawn_as_often_as_they_are_likely(pair, encoded):
    _, ours = pair
    one = Encoded(encoded.memory[:1], encoded.queries[:1], LENGTHS[:1], 1)
    drawn = sampled(ours, one, 1, seed=0, count=20_000)[0, :, 0]
    found = torch.bincount(drawn, minlength=12) / len(drawn)
    states = ours.decoder(
        ours.shared(torch.zeros(1, 1, 1, dtype=torch.int64)), 1, one.memory,
        one.seen_until(one.lengths[:, None]),
    )  # fmt: skip
    expected = ours.token_logits(states)[0, 0, 0].softmax(-1)
    torch.testing.assert_close(found, expected.detach(), atol=0.015, rtol=0)


def test_cold_samples_are_the_greedy_text(pair, encoded):
    _, ours = pair
    greedy = beams(ours, encoded, 8).texts()
    for how in ({"temperature": 1e-38}, {"nucleus": 1e-6}):
        drawn = sampled(ours, encoded, 8, seed=1, count=2, **how)
        for row in range(4):
            for text in drawn[row].tolist():
                end = text.index(EOS) if EOS in text else len(text)
                assert [t for t in text[:end] if t != PAD] == greedy[row]
                assert all(t == PAD for t in text[end + 1 :])


def test_samples_repeat_with_their_seed(pair, encoded):
    _, ours = pair
    first, again, other = (sampled(ours, encoded, 6, seed=s, count=3) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_a_text_that_never_ends_is_cut(pair, encoded):
    ours = copy.deepcopy(pair[1])
    ours.token_logits = endless(ours.token_logits)
    assert [len(words) for words in beams(ours, encoded, 5, 3).tokens[:, 0]] == [5] * 4
    assert not (sampled(ours, encoded, 5, seed=0) == EOS).any()
    assert sampled(ours, encoded, 5, seed=0).shape == (4, 1, 5)


def endless(logits):
    """Logits in which the end is impossible."""

    def without_end(states):
        found = logits(states)
        found[..., EOS] = -torch.inf
        return found

    return without_end


@pytest.mark.parametrize("penalty", [float("nan"), float("inf"), 400.0])
def test_a_penalty_without_sense_is_refused(pair, encoded, penalty):
    with pytest.raises(InputError, match="penalty"):
        beams(pair[1], encoded, 3, penalty=penalty)


@pytest.mark.parametrize("how", [{"length": 0}, {"width": 0}])
def test_nothing_cannot_be_written(pair, encoded, how):
    with pytest.raises(InputError, match="give 1 or more"):
        beams(pair[1], encoded, **{"length": 3, "width": 1} | how)


@pytest.mark.parametrize(
    "how", [{"temperature": 0.0}, {"temperature": float("nan")}, {"nucleus": 0.0}, {"nucleus": 1.5}]
)
def test_draws_out_of_range_are_refused(pair, encoded, how):
    with pytest.raises(InputError, match="temperature"):
        sampled(pair[1], encoded, 3, 0, **how)


def test_the_best_of_two_lists_is_kept():
    few = Written(torch.tensor([[[5], [6]]]), torch.tensor([[-1.0, -torch.inf]]))
    found = few.best_of(torch.tensor([[[7, 8]]]), torch.tensor([[-2.0]]))
    assert found.tokens.tolist() == [[[5, 0], [7, 8]]]
    assert found.scores.tolist() == [[-1.0, -2.0]]
