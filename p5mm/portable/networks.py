"""The two networks of a model in ONNX, as torch's exporter writes them."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from p5mm.model.network import Network
from p5mm.portable.packages import package

# Sizes of the examples that the exporter traces; no two are alike, so that none is taken for
# another, and none is 1.
USERS, CANDIDATES, ITEMS = 3, 5, 7
OPSET = 20
Axes = Mapping[str, Sequence[str | None]]


class QueryNetwork(nn.Module):
    """Makes the query of a history of its items' soft tokens.

    Args:
        network: Trained.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.history = network.history
        self.encoder = network.t5.encoder

    def forward(self, events: Tensor, ratings: Tensor, lengths: Tensor) -> Tensor:
        """Unit queries ``[b, d]``.

        Args:
            events: ``[b, s, k, d]``, padded on the right.
            ratings: ``[b, s]`` on a scale of mean 0; 0 where unknown.
            lengths: ``[b]`` int64.
        """
        b, s = ratings.shape
        rows = torch.arange(b * s).view(b, s)
        memory = self.encoder(self.history(events.flatten(0, 1), rows, ratings), causal=True)
        last = memory[torch.arange(b), lengths * self.history.k]
        return F.normalize(last, dim=-1)


class RankNetwork(nn.Module):
    """Makes the logits of candidates of facts and relations.

    Args:
        network: Trained.
        prompt: Token ids of the prompt that the decoder reads.
    """

    def __init__(self, network: Network, prompt: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.prompt = tuple(prompt)

    def forward(self, facts: Tensor, relations: Tensor, lengths: Tensor) -> Tensor:
        """Logits ``[b, n]``; see `p5mm.model.network.Network.rerank`."""
        return self.network.rerank(self.prompt, facts, relations, lengths)


def write_query_network(network: Network, longest: int, path: Path, int8: bool) -> None:
    """Write what makes the queries of histories of at most ``longest`` items."""
    events = torch.randn(USERS, ITEMS, network.items.k, network.t5.config.d_model)
    lengths = torch.tensor([0, 3, ITEMS])
    axes = {"events": ("b", "s"), "ratings": ("b", "s"), "lengths": ("b",)}
    given = (events, torch.zeros(USERS, ITEMS), lengths)
    _write(QueryNetwork(network), given, axes, {"s": max(2, longest)}, path, int8)


def write_rank_network(
    network: Network, prompt: Sequence[int], facts: int, relations: int, path: Path, int8: bool
) -> None:
    """Write what makes the logits of candidates with so many facts, and relations a pair."""
    reach = network.reader.places.num_embeddings - 1
    items = min(ITEMS, reach)
    pairs = torch.randn(USERS, CANDIDATES, items, relations)
    given = (torch.randn(USERS, CANDIDATES, facts), pairs, torch.tensor([0, 1, items]))
    axes = {"facts": ("b", "n"), "relations": ("b", "n", "s"), "lengths": ("b",)}
    _write(RankNetwork(network, prompt), given, axes, {"s": reach}, path, int8)


def _write(
    network: nn.Module,
    given: tuple[Tensor, ...],
    axes: Axes,
    most: Mapping[str, int],
    path: Path,
    int8: bool,
) -> None:
    """Trace a network with examples, and write it."""
    package("onnx"), package("onnxscript"), package("onnxruntime")
    names = {name for of in axes.values() for name in of if name}
    free = {name: torch.export.Dim(name, max=most.get(name)) for name in names}
    shapes = {
        name: {place: free[axis] for place, axis in enumerate(of) if axis and most.get(axis) != 1}
        for name, of in axes.items()
    }
    # Fused attention gives strides that the exporter cannot take apart.
    with _quiet(), sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        program = torch.onnx.export(
            network.eval(), given, dynamo=True, dynamic_shapes=shapes, opset_version=OPSET,
            input_names=list(axes), output_names=["out"], verbose=False,
        )  # fmt: skip
        if program is None:
            raise RuntimeError("torch's exporter gave no program")
        program.save(path, external_data=False)
        if int8:
            _quantise(path)


def _quantise(path: Path) -> None:
    """Put the weights of a network's matrices into bytes; what they are multiplied with, too."""
    quantization = package("onnxruntime.quantization")
    whole = path.with_suffix(".whole")
    path.rename(whole)
    quantization.quantize_dynamic(
        whole, path, weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm"],
    )  # fmt: skip
    whole.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither exporter nor quantisation says what it would have wished for."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
