"""SASRec: a causal Transformer over item ids, with the loss that makes it strong."""

import copy
import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from p5mm.baselines.base import Arrays, baselines
from p5mm.data.histories import Histories
from p5mm.data.split import Split
from p5mm.metrics.validation import validation_ndcg
from p5mm.model.batches import Batch, history_batch, training_batches
from p5mm.progress import progress
from p5mm.training.retrieval_objective import FULL, full_softmax, sampled_softmax


class Block(nn.Module):
    """A pre-norm Transformer block with causal self-attention."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """``[b, length, d]`` to the same shape; a position sees itself and what is before it."""
        b, length, dim = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(b, length, 3, self.heads, dim // self.heads)
        # No dropout on the attention weights: with it, the fast CPU kernel is out of reach.
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(b, length, dim)))
        return cast(Tensor, x + self.dropout(self.feed(self.feed_norm(x))))


class Network(nn.Module):
    """Item and position embeddings, blocks, a last norm; items tied at input and output."""

    def __init__(
        self, n_items: int, max_len: int, dim: int, blocks: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.items, self.positions = nn.Embedding(n_items, dim), nn.Embedding(max_len, dim)
        self.blocks = nn.Sequential(*(Block(dim, heads, dropout) for _ in range(blocks)))
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, rows: Tensor) -> Tensor:
        """``[b, length]`` int64 item rows, padded on the right, to unit states ``[b, length, d]``.

        Attention is causal, so the state of a real position never sees the padding.
        """
        x = self.items(rows) * self.items.embedding_dim**0.5
        x = self.dropout(x + self.positions.weight[: rows.shape[1]])
        return F.normalize(self.norm(self.blocks(x)), dim=-1)

    def table(self) -> Tensor:
        """``[n_items, d]`` unit item vectors."""
        return F.normalize(self.items.weight, dim=-1)


@baselines.register("sasrec")
@dataclass
class SASRec:
    """SASRec (Kang and McAuley 2018) with a softmax over items instead of one BCE negative.

    Every position of a history is an example, in one pass. Scores are cosines over a temperature,
    which learns several times faster here than plain inner products. A catalog of more
    than four times ``negatives`` gets that many uniform negatives, shared by a batch, with the
    correction that makes their sum an estimate of the whole catalog's (Bengio and Senécal 2008).

    Attributes:
        dim: Width of items and states; where None, 64 for a catalog that takes the whole softmax
            and 128 for a larger one, as validation chose (benchmarks/sasrec.py).
        blocks: Transformer blocks.
        heads: Attention heads.
        max_len: Last items of a history that are read.
        dropout: On embeddings and on the output of each layer.
        temperature: Of the softmax over cosines.
        negatives: Shared negatives a batch.
        tokens: Training positions a batch.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW, on all but norms and biases.
        averaging: Decay per step of the running average of the weights, which is what ranks.
        epochs: At most.
        patience: Epochs without a better validation NDCG@10 before training stops.
        seed: Of weights, batches, negatives and dropout.
    """

    dim: int | None = None
    blocks: int = 2
    heads: int = 2
    max_len: int = 200
    dropout: float = 0.4
    temperature: float = 1 / 16
    negatives: int = 512
    tokens: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    averaging: float = 0.998
    epochs: int = 100
    patience: int = 10
    seed: int = 0

    def fit(self, split: Split, n_items: int) -> None:
        """Train; keep the weights of the epoch with the best validation NDCG@10."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = self._network(n_items)
            self._train(split)

    @torch.inference_mode()
    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, n_items]`` float32; an empty history scores 0 everywhere."""
        self.network.eval()
        batch = history_batch(histories, self.max_len)
        last = (batch.lengths - 1).clamp(min=0)
        states = self.network(batch.rows)[torch.arange(len(last)), last]
        states = states * (batch.lengths > 0)[:, None]
        return cast(NDArray[np.float32], (states @ self.network.table().T).numpy())

    def n_items(self) -> int:
        """Size of the catalog that it was fitted on."""
        return len(self.network.items.weight)

    def arrays(self) -> Arrays:
        """The weights."""
        return {name: weight.numpy() for name, weight in self.network.state_dict().items()}

    def restore(self, arrays: Arrays) -> None:
        """Take the weights back."""
        self.network = self._network(len(arrays["items.weight"]))
        self.network.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in arrays.items()})

    def _network(self, n_items: int) -> Network:
        dim = self.dim or (64 if n_items <= FULL * self.negatives else 128)
        return Network(n_items, self.max_len, dim, self.blocks, self.heads, self.dropout)

    def _train(self, split: Split) -> None:
        train, cases = split.train, split.cases("valid")
        trained = copy.deepcopy(self.network)
        optimizer, steps = self._optimizer(trained), 0
        best, best_epoch, kept = -1.0, 0, self.network.state_dict()
        with progress("train sasrec", self.epochs, "epoch") as shown:
            for epoch in range(self.epochs):
                trained.train()
                for batch in training_batches(train, self.max_len, self.tokens, self.seed, epoch):
                    if not (batch.targets[:, 1:] >= 0).any():
                        continue
                    optimizer.zero_grad()
                    torch.autograd.backward(self._loss(trained, batch))
                    optimizer.step()
                    steps += 1
                    self._average(trained, steps)
                ndcg = validation_ndcg(self, cases)
                shown.update(1, f"ndcg@10 {ndcg:.4f}")
                if ndcg > best:
                    best, best_epoch = ndcg, epoch
                    kept = copy.deepcopy(self.network.state_dict())
                elif epoch - best_epoch >= self.patience:
                    break
        self.network.load_state_dict(kept)

    @torch.no_grad()
    def _average(self, trained: Network, steps: int) -> None:
        # The first averages are short, or they would remember the random start.
        share = 1.0 - min(self.averaging, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(list(self.network.parameters()), list(trained.parameters()), share)

    def _optimizer(self, network: Network) -> torch.optim.Optimizer:
        weights = list(network.parameters())
        groups = [
            {"params": [w for w in weights if w.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.98))

    def _loss(self, network: Network, batch: Batch) -> Tensor:
        wanted = batch.targets[:, 1:]
        real = wanted >= 0
        states, targets = network(batch.rows)[real] / self.temperature, wanted[real]
        table = network.table()
        if len(table) <= FULL * self.negatives:
            return full_softmax(states, table, targets)
        drawn = torch.randint(len(table), (self.negatives,))
        hits = targets[:, None] == drawn
        log_q = math.log(self.negatives / len(table))
        return sampled_softmax(states, table[targets], table[drawn], hits, log_q)
