"""Our T5 against Hugging Face's, with the same random weights."""

import json

import pytest
import torch
from transformers import T5Config as HFConfig
from transformers import T5ForConditionalGeneration

from p5mm.errors import InputError
from p5mm.model.layers import T5Config
from p5mm.model.t5 import T5, load_t5

SIZES = {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_heads": 3, "vocab_size": 40,
         "num_layers": 2, "num_decoder_layers": 3}  # fmt: skip
V10 = {"feed_forward_proj": "relu", "tie_word_embeddings": True}
V11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


@pytest.fixture(scope="module", params=["t5-v1.0", "tied-v1.1", "flan", "old-flan"])
def pair(request, tmp_path_factory):
    """Hugging Face's model, ours loaded from what it saved, and the folder."""
    folder = tmp_path_factory.mktemp("t5")
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    form = V10 if request.param == "t5-v1.0" else V11
    theirs = T5ForConditionalGeneration(HFConfig(**SIZES, **ids, **form)).eval()
    if "flan" in request.param:
        theirs.lm_head.weight = torch.nn.Parameter(torch.randn(40, 16))
    for parameter in theirs.parameters():  # norms and biases away from their plain start
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    theirs.save_pretrained(folder)
    if request.param == "old-flan":  # as transformers 4 wrote it, and the hub has it
        values = json.loads((folder / "config.json").read_text())
        del values["scale_decoder_outputs"]
        values["tie_word_embeddings"] = False
        (folder / "config.json").write_text(json.dumps(values))
    return theirs, load_t5(folder).eval(), folder


@torch.no_grad()
def test_encoder_equals_transformers_with_padding(pair):
    theirs, ours, _ = pair
    x = torch.randn(3, 150, 16)  # beyond the last position bucket
    mask = torch.arange(150) < torch.tensor([150, 40, 1])[:, None]
    expected = theirs.encoder(inputs_embeds=x, attention_mask=mask).last_hidden_state
    found = ours.encoder(x, causal=False, mask=mask)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_causal_encoder_equals_transformers_on_every_prefix(pair):
    theirs, ours, _ = pair
    x = torch.randn(2, 7, 16)
    triangle = torch.zeros(7, 7).masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf)
    expected = theirs.encoder(
        inputs_embeds=x, attention_mask=triangle.expand(2, 1, 7, 7)
    ).last_hidden_state
    torch.testing.assert_close(ours.encoder(x, causal=True), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_decoder_and_logits_equal_transformers(pair):
    theirs, ours, _ = pair
    ids, memory = torch.randint(40, (2, 9)), torch.randn(2, 5, 16)
    seen = torch.arange(5) < torch.tensor([5, 3])[:, None]
    expected = theirs(encoder_outputs=(memory,), attention_mask=seen, decoder_input_ids=ids).logits
    states = ours.decoder(ours.shared(ids)[:, None], 9, memory, seen[:, None])
    torch.testing.assert_close(ours.token_logits(states[:, 0]), expected, atol=1e-4, rtol=1e-4)
    few = torch.tensor([3, 17])
    torch.testing.assert_close(ours.token_logits(states, few)[:, 0], expected[..., few])


@torch.no_grad()
def test_candidates_equal_scoring_each_alone_in_transformers(pair):
    theirs, ours, _ = pair
    b, m, prompt, n = 2, 3, 4, 5
    x, memory = torch.randn(b, m, prompt + n, 16), torch.randn(b, 6, 16)
    seen = torch.arange(6) < torch.tensor([[1, 3, 6], [2, 2, 5]])[..., None]
    found = ours.decoder(x, prompt, memory, seen)
    for i in range(b):
        for j in range(m):
            alone = torch.stack([torch.cat([x[i, j, :prompt], x[i, j, prompt + c, None]])
                                 for c in range(n)])  # fmt: skip
            expected = theirs.decoder(
                inputs_embeds=alone,
                encoder_hidden_states=memory[i].expand(n, -1, -1),
                encoder_attention_mask=seen[i, j].expand(n, -1),
            ).last_hidden_state
            close = {"atol": 1e-5, "rtol": 1e-4}
            torch.testing.assert_close(found[i, j, prompt:], expected[:, -1], **close)
            torch.testing.assert_close(found[i, j, :prompt], expected[0, :prompt], **close)


@pytest.mark.parametrize(("prompt", "n"), [(1, 4), (3, 0)])
def test_a_prompt_of_one_token_and_no_candidates(prompt, n):
    t5 = T5(T5Config(**SIZES)).eval()
    x, memory = torch.randn(1, 1, prompt + n, 16), torch.randn(1, 2, 16)
    states = t5.decoder(x, prompt, memory, torch.ones(1, 1, 2, dtype=torch.bool))
    assert states.shape == x.shape
    assert states.isfinite().all()


def test_gradients_reach_every_weight():
    t5 = T5(T5Config(**SIZES))
    memory = t5.encoder(t5.shared(torch.randint(40, (2, 3))), causal=True)
    x = t5.shared(torch.randint(40, (2, 1, 4)))
    states = t5.decoder(x, 2, memory, torch.ones(2, 1, 3, dtype=torch.bool))
    t5.token_logits(states).logsumexp(-1).sum().backward()
    assert [n for n, p in t5.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropout_of_attention_acts_in_training_only():
    t5 = T5(T5Config(**SIZES, dropout_rate=0.5))
    x = torch.randn(1, 6, 16)
    assert not torch.equal(t5.encoder(x, causal=True), t5.encoder(x, causal=True))
    t5.eval()
    assert torch.equal(t5.encoder(x, causal=True), t5.encoder(x, causal=True))


def test_dropout_can_be_given_when_loading(pair):
    _, _, folder = pair
    assert load_t5(folder, dropout=0.25).config.dropout_rate == 0.25


def test_a_folder_with_pickled_weights_is_refused(pair, tmp_path):
    theirs, _, folder = pair
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"such as pytorch_model\.bin are never opened"):
        load_t5(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bart"}, "holds a bart model"),
        ({"d_ff": 25}, "do not fit its config"),
        ({"num_layers": 3}, "do not fit its config"),
    ],
)
def test_what_does_not_fit_is_refused(pair, tmp_path, change, message):
    _, _, folder = pair
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    values = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(values | change))
    with pytest.raises(InputError, match=message):
        load_t5(tmp_path)
