"""T5 (Raffel et al. 2020) with what a recommender needs: soft prompts in, isolated candidates.

Parameter names are those of Hugging Face's T5, so its checkpoints load as they are. What differs:
the encoder can be causal, so that every prefix of a history is read in one pass; the decoder takes
many requests for one history, each a prompt followed by candidates that see the prompt and the
history, or only their relations to it, but not one another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from p5mm.arrays import check_range, check_shape, read_shapes
from p5mm.errors import InputError
from p5mm.model.dropout import Dropout
from p5mm.model.layers import QUIET, Attention, FeedForward, Layer, PositionBias, RMSNorm, T5Config
from p5mm.plain import read_json, reading

REMEDY = "save the model again"
T = TypeVar("T")


class Block(nn.Module):
    """Self-attention, in the decoder cross-attention, and feed-forward."""

    def __init__(self, config: T5Config, decoder: bool, first: bool) -> None:
        super().__init__()
        bias = PositionBias(config, bidirectional=not decoder) if first else None
        layers = [Layer("SelfAttention", Attention(config, bias), config)]
        if decoder:
            layers.append(Layer("EncDecAttention", Attention(config), config))
        layers.append(Layer("DenseReluDense", FeedForward(config), config))
        self.layer = nn.ModuleList(layers)


class Stack(nn.Module):
    """Blocks that share the position bias of the first."""

    def __init__(self, config: T5Config, decoder: bool) -> None:
        super().__init__()
        count = config.num_decoder_layers if decoder else config.num_layers
        self.block: Any = nn.ModuleList(Block(config, decoder, first=i == 0) for i in range(count))
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = Dropout(config.dropout_rate)

    def position_bias(self, length: int, causal: bool, first: int = 0) -> Tensor:
        """``[1, heads, length - first, length]``; minus infinity at later keys where causal.

        Args:
            length: Positions.
            causal: Whether none sees a later one.
            first: Of the positions that ask.
        """
        attention = self.block[0].layer[0].sublayer
        bias: Tensor = attention.relative_attention_bias.between(length, first)
        if not causal:
            return bias
        later = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).triu(1 + first)
        return bias.masked_fill(later, -torch.inf)


class Encoder(Stack):
    """Reads embedded tokens once."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config, decoder=False)

    def forward(self, x: Tensor, *, causal: bool, mask: Tensor | None = None) -> Tensor:
        """States ``[b, s, d]`` of embeddings ``[b, s, d]``.

        Args:
            x: Soft or hard token embeddings, padded on the right.
            causal: True lets a position see only itself and what came before; right padding is
                then never seen by a real position and needs no mask.
            mask: ``[b, s]`` bool, True where a position may be attended to.
        """
        bias = self.position_bias(x.shape[1], causal)
        if mask is not None:
            bias = bias.masked_fill(~mask[:, None, None, :], -torch.inf)
        x = self.dropout(x)
        for block in self.block:
            attention, feed_forward = block.layer
            h = attention.layer_norm(x)
            keys, values = attention.sublayer.keys_values(h)
            x = x + attention.dropout(attention.sublayer(h, keys, values, bias))
            x = x + feed_forward.dropout(feed_forward.sublayer(feed_forward.layer_norm(x)))
        out: Tensor = self.dropout(self.final_layer_norm(x))
        return out


class Decoder(Stack):
    """Answers many requests about one encoded history."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config, decoder=True)

    def forward(self, x: Tensor, prompt: int, memory: Tensor, mask: Tensor) -> Tensor:
        """States of prompts and of candidates, each as if it were alone.

        Args:
            x: ``[b, m, prompt + n, d]``: m requests a history, each a prompt (causal) followed by
                n candidates that see the prompt, the history and themselves.
            prompt: Length of the prompt; n may be 0.
            memory: Encoder states ``[b, s, d]``, shared by all requests: keys and values are made
                once a history and layer.
            mask: ``[b, m, s]`` bool, True where request m may attend to position s.
        """
        b, m, length, _ = x.shape
        blocked = torch.zeros(mask.shape, dtype=x.dtype, device=x.device)
        blocked = blocked.masked_fill(~mask, -torch.inf)
        seen = blocked.repeat_interleave(length, dim=1)[:, None] if m > 1 else blocked[:, None]

        def look(number: int, x: Tensor) -> Tensor:
            cross = self.block[number].layer[1]
            h = cross.layer_norm(x).view(b, m * length, -1)
            h = cross.sublayer(h, *cross.sublayer.keys_values(memory), seen)
            out: Tensor = cross.dropout(h.view(b * m, length, -1))
            return out

        return self._run(x.flatten(0, 1), prompt, look).view(b, m, length, -1)

    def relate(
        self,
        x: Tensor,
        prompt: int,
        pairs: Tensor,
        mask: Tensor,
        relations: Sequence[Callable[..., Tensor]],
    ) -> Tensor:
        """States ``[b, n, d]`` of candidates that see a history by their relations to it alone.

        Args:
            x: ``[b, prompt + n, d]`` a prompt followed by candidates.
            prompt: Length of the prompt, which sees no history.
            pairs: ``[b, n, s, width]``, what each candidate has to do with each item.
            mask: ``[b, 1, 1, s]``, minus infinity where a history has no item.
            relations: A ``RelationAttention`` a layer.
        """

        def look(number: int, x: Tensor) -> Tensor:
            cross = self.block[number].layer[1]
            h = cross.layer_norm(x[:, prompt:])
            h = cross.dropout(relations[number](cross.sublayer, h, pairs, mask))
            return F.pad(h, (0, 0, prompt, 0))

        return self._run(x, prompt, look)[:, prompt:]

    def _run(self, x: Tensor, prompt: int, look: Callable[[int, Tensor], Tensor]) -> Tensor:
        """All layers ``[b, prompt + n, d]``; ``look`` is the cross-attention of a layer."""
        bias = self.position_bias(prompt + 1, causal=True)
        x = self.dropout(x)
        for number, block in enumerate(self.block):
            attention, _, feed_forward = block.layer
            h = attention.sublayer.isolated(attention.layer_norm(x), prompt, bias)
            x = x + attention.dropout(h)
            x = x + look(number, x)
            x = x + feed_forward.dropout(feed_forward.sublayer(feed_forward.layer_norm(x)))
        out: Tensor = self.dropout(self.final_layer_norm(x))
        return out


class T5(nn.Module):
    """Encoder, decoder and the token embeddings they share."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.apply(self._initialise)

    def token_logits(self, states: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Logits ``[..., vocab]``, or only those of ``tokens`` ``[t]`` (a compact LM head)."""
        head = self.shared if self.config.tie_word_embeddings else self.lm_head
        weight = head.weight
        if self.config.scale_decoder_outputs:
            states = states * self.config.d_model**-0.5
        return states @ (weight if tokens is None else weight[tokens]).T

    def _initialise(self, module: nn.Module) -> None:
        """T5's own initialisation, with quiet sub-layers."""
        c = self.config
        if isinstance(module, Attention):
            nn.init.normal_(module.q.weight, std=(c.d_model * c.d_kv) ** -0.5)
            nn.init.normal_(module.k.weight, std=c.d_model**-0.5)
            nn.init.normal_(module.v.weight, std=c.d_model**-0.5)
            nn.init.normal_(module.o.weight, std=QUIET * (c.num_heads * c.d_kv) ** -0.5)
        elif isinstance(module, FeedForward):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    std = QUIET * c.d_ff**-0.5 if name == "wo" else c.d_model**-0.5
                    nn.init.normal_(child.weight, std=std)
        elif isinstance(module, PositionBias):
            nn.init.normal_(module.weight, std=c.d_model**-0.5)


def load_t5(folder: Path, dropout: float | None = None) -> T5:
    """A T5 with the weights of a folder in Hugging Face's layout.

    Raises:
        InputError: The folder holds no T5 in safetensors, or its weights do not fit its config.
    """
    config_file, weights_file = folder / "config.json", folder / "model.safetensors"
    if not config_file.is_file() or not weights_file.is_file():
        raise InputError(
            f"{folder} is no T5 folder: it needs config.json and model.safetensors "
            "(pickled weights such as pytorch_model.bin are never opened; save the model again "
            "with safe_serialization=True)"
        )
    values = read_json(config_file, REMEDY)
    if values.get("model_type", "t5") not in ("t5", "mt5"):
        raise InputError(f"{folder} holds a {values['model_type']} model; a T5 is needed")
    shapes = _own(read_shapes(weights_file, REMEDY))
    with reading(config_file, REMEDY):
        config = T5Config.from_dict(values | ({} if dropout is None else {"dropout_rate": dropout}))
        _check_sizes(config, shapes)
    # The weights say whether the head is its own; transformers 5 always writes that it is tied.
    t5 = T5(replace(config, tie_word_embeddings="lm_head.weight" not in shapes))
    with reading(weights_file, REMEDY):
        weights = {name: tensor.float() for name, tensor in _own(load_file(weights_file)).items()}
        for name, tensor in weights.items():
            check_range(tensor.numpy(), name)
        try:
            t5.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"the weights in {folder} do not fit its config.json: {error}"
            ) from error
    return t5


def _own(values: Mapping[str, T]) -> dict[str, T]:
    """Without the copies of the token embeddings that some checkpoints have."""
    return {k: v for k, v in values.items() if not k.endswith("embed_tokens.weight")}


def _check_sizes(config: T5Config, shapes: Mapping[str, Sequence[int]]) -> None:
    """Check that a config says the sizes that the weights have, before anything is built by it.

    Raises:
        InputError: They differ.
    """
    for stack, count in (("encoder", config.num_layers), ("decoder", config.num_decoder_layers)):
        blocks = {name.split(".")[2] for name in shapes if name.startswith(f"{stack}.block.")}
        if blocks != {str(number) for number in range(len(blocks))} or len(blocks) != count:
            raise InputError(
                f"the weights do not fit its config.json: {count} {stack} layers are said, "
                f"{len(blocks)} are there"
            )
    inner, gated = config.num_heads * config.d_kv, config.feed_forward_proj != "relu"
    first = "encoder.block.0.layer"
    for name, wanted in {
        "shared.weight": (config.vocab_size, config.d_model),
        f"{first}.0.SelfAttention.q.weight": (inner, config.d_model),
        f"{first}.0.SelfAttention.relative_attention_bias.weight": (
            config.relative_attention_num_buckets, config.num_heads
        ),
        f"{first}.1.DenseReluDense.wi{'_0' * gated}.weight": (config.d_ff, config.d_model),
    }.items():  # fmt: skip
        if name not in shapes:
            raise InputError(f"the weights do not fit its config.json: they have no '{name}'")
        check_shape(shapes[name], wanted, f"the weights do not fit its config.json: '{name}'")
