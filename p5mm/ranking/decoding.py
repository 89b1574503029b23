"""The T5's decoder one digit at a time: many paths that branch from one prompt and one history."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from p5mm.model.layers import Attention
from p5mm.model.network import Encoded, asked
from p5mm.model.t5 import T5

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Paths:
    """What the decoder remembers of paths that share a prompt and a history.

    Nothing that paths share is copied: the history's keys and the prompt's are there once a
    history, those of the digits once a path.

    Attributes:
        t5: In evaluation mode.
        bias: ``[1, heads, t, t]`` causal position bias of the longest path.
        blocked: ``[b, 1, 1, s]``, minus infinity where the history is padding.
        memory: Of each layer, keys and values ``[b, heads, s, d_kv]`` of the history.
        prompt: Of each layer, those ``[b, heads, p, d_kv]`` of the prompt.
        own: Of each layer, those ``[b, heads, w, l, d_kv]`` of the digits read.
        states: ``[b, w, d]`` of the decoder where each path ends.
    """

    t5: T5
    bias: Tensor
    blocked: Tensor
    memory: tuple[KeysValues, ...]
    prompt: tuple[KeysValues, ...]
    own: tuple[KeysValues, ...]
    states: Tensor

    @classmethod
    def start(
        cls,
        t5: T5,
        encoded: Encoded,
        prompt: Sequence[int],
        digits: int,
        slots: Tensor | None = None,
    ) -> "Paths":
        """One path a history, after the prompt.

        Args:
            t5: In evaluation mode.
            encoded: Histories, read once.
            prompt: Token ids; ``ITEM`` marks the soft tokens of the item in question.
            digits: The most that will be read.
            slots: ``[b, k, d]`` these; None where no item is in question.
        """
        seen = encoded.seen_until(encoded.lengths[:, None])[:, None]
        blocked = torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
        bias = t5.decoder.position_bias(len(prompt) + digits, causal=True)
        x = asked(t5, prompt, encoded.memory[:, :0] if slots is None else slots)
        here = bias[:, :, : len(prompt), : len(prompt)]
        memory, read, own = [], [], []
        for block in t5.decoder.block:
            attention, cross, feed_forward = block.layer
            h = attention.layer_norm(x)
            keys, values = attention.sublayer.keys_values(h)
            x = x + attention.sublayer(h, keys, values, here)
            memory.append(cross.sublayer.keys_values(encoded.memory))
            x = x + cross.sublayer(cross.layer_norm(x), *memory[-1], blocked)
            x = x + feed_forward.sublayer(feed_forward.layer_norm(x))
            read.append((keys, values))
            own.append(tuple(part[:, :, :1, None][:, :, :, :0, :] for part in (keys, values)))
        states = t5.decoder.final_layer_norm(x[:, -1:])
        return cls(t5, bias, blocked, tuple(memory), tuple(read), tuple(own), states)

    def onward(self, parents: Tensor, x: Tensor) -> "Paths":
        """Paths that go on by one digit.

        Args:
            parents: ``[b, w]`` int64: which of the paths each goes on from.
            x: ``[b, w, d]`` the digit, as the decoder reads it.
        """
        own = []
        for block, memory, prompt, kept in zip(
            self.t5.decoder.block, self.memory, self.prompt, self.own, strict=True
        ):
            attention, cross, feed_forward = block.layer
            h = attention.layer_norm(x)
            grown = _grown(attention.sublayer, h, kept, parents)
            x = x + self._among_own(attention.sublayer, h, prompt, grown)
            x = x + cross.sublayer(cross.layer_norm(x), *memory, self.blocked)
            x = x + feed_forward.sublayer(feed_forward.layer_norm(x))
            own.append(grown)
        return replace(self, own=tuple(own), states=self.t5.decoder.final_layer_norm(x))

    def _among_own(
        self, attention: Attention, h: Tensor, prompt: KeysValues, own: KeysValues
    ) -> Tensor:
        """Self-attention ``[b, w, d]`` to the shared prompt and the path's own digits."""
        q, known = attention.split(attention.q(h)), prompt[0].shape[2]
        end = known + own[0].shape[3]
        bias = self.bias[:, :, end - 1 : end, :end]
        to_prompt = q @ prompt[0].transpose(-1, -2) + bias[..., :known]
        to_own = (q[..., None, :] * own[0]).sum(-1) + bias[..., known:]
        weights = torch.cat([to_prompt, to_own], dim=-1).softmax(dim=-1)
        heads = weights[..., :known] @ prompt[1]
        heads = heads + (weights[..., known:, None] * own[1]).sum(-2)
        out: Tensor = attention.o(attention.merge(heads))
        return out


def _grown(attention: Attention, h: Tensor, own: KeysValues, parents: Tensor) -> KeysValues:
    """The parents' keys and values, with those of one digit more."""
    keys, values = attention.keys_values(h)
    index = parents[:, None, :, None, None].expand(-1, keys.shape[1], -1, *own[0].shape[3:])
    return (
        torch.cat([own[0].gather(2, index), keys[:, :, :, None]], dim=3),
        torch.cat([own[1].gather(2, index), values[:, :, :, None]], dim=3),
    )
