"""T5's layers (Raffel et al. 2020), under the names that Hugging Face's checkpoints have."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from p5mm.errors import InputError, unknown
from p5mm.model.dropout import Dropout
from p5mm.plain import check_type

# Share of T5's initial scale that a sub-layer's output starts with. A model from scratch begins
# as "what comes next is near what came last", which is learned from several times faster.
QUIET = 0.1
SIZES = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_decoder_layers", "num_heads")


@dataclass(frozen=True)
class T5Config:
    """Sizes of a T5, named as in Hugging Face's config.json."""

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int = 6
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    scale_decoder_outputs: bool = True

    def __post_init__(self) -> None:
        for name in SIZES:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.feed_forward_proj not in ("relu", "gated-gelu"):
            raise unknown("feed_forward_proj", self.feed_forward_proj, ("relu", "gated-gelu"))
        buckets, reach = self.relative_attention_num_buckets, self.relative_attention_max_distance
        if buckets < 4 or reach <= buckets // 2:  # half of them are for one distance each
            raise InputError(
                f"relative_attention_num_buckets is {buckets} and max_distance {reach}; there "
                "must be at least 4, and a distance beyond half of them"
            )
        if not 0 <= self.dropout_rate < 1 or not 0 < self.layer_norm_epsilon < 1:
            raise InputError("dropout_rate must be below 1 and layer_norm_epsilon above 0")

    @classmethod
    def nano(
        cls, d_model: int, layers: int, dropout: float, vocab_size: int, decoder_layers: int = 1
    ) -> "T5Config":
        """The dependent sizes of a small model trained from scratch, by one dial."""
        heads = max(1, d_model // 32)
        return cls(
            vocab_size=vocab_size,
            d_model=d_model,
            d_kv=d_model // heads,
            d_ff=4 * d_model,
            num_layers=layers,
            num_decoder_layers=decoder_layers,
            num_heads=heads,
            dropout_rate=dropout,
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "T5Config":
        """The sizes in a Hugging Face config; keys that T5 does not compute with are left out.

        Raises:
            InputError: A value is of another type, or out of its range.
        """
        known = {f.name: values[f.name] for f in fields(cls) if values.get(f.name) is not None}
        hints = get_type_hints(cls)
        for name, value in known.items():
            check_type(value, hints[name], name)
        known.setdefault("num_decoder_layers", known.get("num_layers", cls.num_layers))
        # Before transformers 5 one key said both that the head is its own and that nothing scales.
        known.setdefault("scale_decoder_outputs", known.get("tie_word_embeddings", True))
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """A config.json that Hugging Face's T5Config reads."""
        fixed = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}
        ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
        return {**fixed, **asdict(self), **ids}


class RMSNorm(nn.Module):
    """Scale to unit root mean square; no mean, no bias (T5's layer norm)."""

    def __init__(self, d: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d]`` to ``[..., d]``."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class PositionBias(nn.Embedding):
    """Learned bias of an attention logit by bucketed distance (T5 paper, section 2.1)."""

    def __init__(self, config: T5Config, bidirectional: bool) -> None:
        super().__init__(config.relative_attention_num_buckets, config.num_heads)
        self.max_distance = config.relative_attention_max_distance
        self.bidirectional = bidirectional

    def between(self, length: int, first: int = 0) -> Tensor:
        """Bias ``[1, heads, length - first, length]`` of query row, from ``first`` on, by key."""
        position = torch.arange(length, device=self.weight.device)
        buckets = self._bucket(position[None, :] - position[first:, None])
        return F.embedding(buckets, self.weight).permute(2, 0, 1)[None]

    def _bucket(self, offset: Tensor) -> Tensor:
        count = self.num_embeddings
        start = torch.zeros_like(offset)
        if self.bidirectional:
            count //= 2
            start = (offset > 0).long() * count
            distance = offset.abs()
        else:
            distance = (-offset).clamp(min=0)
        exact = count // 2
        ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(
            self.max_distance / exact
        )
        far = (exact + (ratio * (count - exact)).long()).clamp(max=count - 1)
        return start + torch.where(distance < exact, distance, far)


class Attention(nn.Module):
    """Multi-head attention without scaling, as T5 has it."""

    def __init__(self, config: T5Config, bias: PositionBias | None = None) -> None:
        super().__init__()
        inner = config.num_heads * config.d_kv
        self.heads = config.num_heads
        self.dropout = Dropout(config.dropout_rate)
        self.q = nn.Linear(config.d_model, inner, bias=False)
        self.k = nn.Linear(config.d_model, inner, bias=False)
        self.v = nn.Linear(config.d_model, inner, bias=False)
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if bias is not None:
            self.relative_attention_bias = bias

    def split(self, x: Tensor) -> Tensor:
        """``[b, s, heads * d_kv]`` to ``[b, heads, s, d_kv]``."""
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``[b, heads, s, d_kv]`` of a memory ``[b, s, d]``."""
        return self.split(self.k(memory)), self.split(self.v(memory))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Attend from ``x`` ``[b, q, d]``; ``bias`` ``[b, h, q, s]`` is added to the logits."""
        out: Tensor = self.o(self.merge(self.attend(self.split(self.q(x)), keys, values, bias)))
        return out

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """``[b, heads, q, d_kv]`` of queries against keys and values."""
        if self.training:
            logits = q @ keys.transpose(-1, -2)
            weights: Tensor = self.dropout((logits if bias is None else logits + bias).softmax(-1))
            return weights @ values
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=1.0)

    def merge(self, x: Tensor) -> Tensor:
        """``[b, heads, s, d_kv]`` to ``[b, s, heads * d_kv]``."""
        return x.transpose(1, 2).flatten(2)

    def isolated(self, x: Tensor, prompt: int, bias: Tensor) -> Tensor:
        """Self-attention of a prompt followed by candidates that do not see one another.

        Every candidate stands at the position right after the prompt and sees the prompt and
        itself, so its output is what it would be alone (M-FALCON, Zhai et al. 2024).

        Args:
            x: ``[b, prompt + n, d]``.
            prompt: Length of the causal prompt.
            bias: ``[1, heads, prompt + 1, prompt + 1]``, causal.
        """
        q, (k, v) = self.split(self.q(x)), self.keys_values(x)
        kp, vp = k[:, :, :prompt], v[:, :, :prompt]
        head = self.attend(q[:, :, :prompt], kp, vp, bias[:, :, :prompt, :prompt])
        qc, kc, vc = q[:, :, prompt:], k[:, :, prompt:], v[:, :, prompt:]
        # Keys before candidates: a softmax over a few places side by side is 18 times slower.
        to_prompt = kp @ qc.transpose(-1, -2) + bias[:, :, prompt:, :prompt].transpose(-1, -2)
        to_self = (qc * kc).sum(-1)[:, :, None] + bias[:, :, prompt:, prompt:]
        weights = self.dropout(torch.cat([to_prompt, to_self], dim=2).softmax(dim=2))
        tail = weights[:, :, :prompt].transpose(-1, -2) @ vp + weights[:, :, prompt, :, None] * vc
        out: Tensor = self.o(self.merge(torch.cat([head, tail], dim=2)))
        return out


class FeedForward(nn.Module):
    """Position-wise feed-forward, ReLU or gated GELU."""

    wi: nn.Linear
    wi_0: nn.Linear
    wi_1: nn.Linear

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.gated = config.feed_forward_proj.startswith("gated")
        names = ["wi_0", "wi_1"] if self.gated else ["wi"]
        for name in names:
            self.add_module(name, nn.Linear(config.d_model, config.d_ff, bias=False))
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.dropout = Dropout(config.dropout_rate)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d]`` to ``[..., d]``."""
        if self.gated:
            inner = F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x)
        else:
            inner = F.relu(self.wi(x), inplace=True)
        out: Tensor = self.wo(self.dropout(inner))
        return out


class Layer(nn.Module):
    """A sub-layer with its pre-norm and dropout; ``x + dropout(sublayer(norm(x)))``."""

    def __init__(self, name: str, sublayer: nn.Module, config: T5Config) -> None:
        super().__init__()
        self.add_module(name, sublayer)
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = Dropout(config.dropout_rate)
        self.name = name

    @property
    def sublayer(self) -> Any:
        """The attention or feed-forward inside."""
        return getattr(self, self.name)
