"""Two small heads that bring the vectors of two frozen towers into one space."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from p5mm.arrays import Expected, check_names, check_shape, read_arrays, write_arrays
from p5mm.encoders.base import Features
from p5mm.errors import InputError, unknown
from p5mm.plain import check_type, reading

SIDES = ("image", "text")
MIN_PAIRS = 50
HELD_OUT = 0.2
# Ridges of the whitening of pictures and of texts, in mean eigenvalues of their covariances: pairs
# that say much of one another want little. Which ones is decided on pairs left out.
RIDGES = ((1.0, 0.1), (1.0, 0.3), (3.0, 1.0), (10.0, 1.0), (30.0, 3.0))
FOLDS = 3
MOST_ASKED = 1000  # pairs left out that are searched; more say little more
WEAK = 0.1  # share of the pictures that stand before a text's own, in the median, where it is weak
HIDDEN, DROPOUT, BATCH, RATE, DECAY = 128, 0.5, 256, 2e-3, 0.1
MAX_STEPS = 3000
REMEDY = "it holds no alignment: align again"
# The arrays of a side's head, with the number of their axes.
HEAD = {
    "mean": 1, "linear": 2, "correction.1.weight": 2, "correction.1.bias": 1,
    "correction.4.weight": 2, "correction.4.bias": 1,
}  # fmt: skip


@dataclass(frozen=True)
class AlignmentReport:
    """What the heads are worth on pairs they were not trained on; afterwards all pairs train.

    Attributes:
        pairs: Items with both a picture and a text.
        held_out: Pairs kept out of a first training and then searched among one another.
        recall_at_1: Share of held-out texts that find their own picture first.
        recall_at_10: Share that finds it within ten.
        median_rank: Of their own picture, from 1.
    """

    pairs: int
    held_out: int
    recall_at_1: float
    recall_at_10: float
    median_rank: float

    @property
    def weak(self) -> bool:
        """Whether words find too few of the right pictures to be of use."""
        return self.median_rank - 1 > WEAK * self.held_out

    def __str__(self) -> str:
        return (
            f"aligned on {self.pairs:,} pairs; of {self.held_out:,} texts held out "
            f"{self.recall_at_1:.0%} find their own picture first among {self.held_out:,}, "
            f"{self.recall_at_10:.0%} within ten, half within {self.median_rank:,.0f}"
        )


class Head(nn.Module):
    """One side: a linear map to the shared space, and a trained correction of it.

    The output is both halves side by side, so the cosine of two outputs is the mean of the linear
    map's cosine, which is safe where data are few, and of the corrected one.

    Args:
        mean: ``[d]`` mean of the side's vectors.
        linear: ``[d, r]`` map of the centred vectors to the shared space.
    """

    mean: Tensor
    linear: Tensor

    def __init__(self, mean: Tensor, linear: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("linear", linear)
        width = linear.shape[1]
        last = nn.Linear(HIDDEN, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(
            nn.Dropout(DROPOUT), nn.Linear(width, HIDDEN), nn.GELU(), nn.Dropout(DROPOUT), last
        )

    def shared(self, vectors: Tensor) -> Tensor:
        """Vectors ``[n, d]`` to the shared space by the linear map, ``[n, r]`` at unit length."""
        unit = nn.functional.normalize(vectors, dim=-1)
        return nn.functional.normalize((unit - self.mean) @ self.linear, dim=-1)

    def corrected(self, shared: Tensor) -> Tensor:
        """``[n, r]`` with the correction added, at unit length."""
        scaled = shared * math.sqrt(shared.shape[1])
        return nn.functional.normalize(shared + self.correction(scaled), dim=-1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors ``[n, d]`` to ``[n, 2 r]`` at unit length."""
        shared = self.shared(vectors)
        return torch.cat([shared, self.corrected(shared)], dim=-1) / math.sqrt(2)


@dataclass(frozen=True)
class Alignment:
    """The heads of both sides, and what they are worth."""

    image: Head
    text: Head
    report: AlignmentReport

    def project(self, side: str, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors of one side in the shared space, at unit length.

        Args:
            side: "image" or "text".
            vectors: ``[n, d]`` float32 of that side's encoder; rows of absent items mean nothing
                afterwards, so mask them.

        Returns:
            ``[n, r]`` float32.

        Raises:
            InputError: Another side, or vectors of another dimension than trained on.
        """
        if side not in SIDES:
            raise unknown("side", side, SIDES)
        head = self.image if side == "image" else self.text
        if vectors.ndim != 2 or vectors.shape[1] != len(head.mean):
            raise InputError(
                f"{side} vectors have shape {list(vectors.shape)}; the alignment was trained on "
                f"[n, {len(head.mean)}]. Align again after a change of encoder"
            )
        with torch.inference_mode():
            projected: NDArray[np.float32] = head(torch.from_numpy(vectors)).numpy()
        return projected

    def save(self, path: str | Path) -> None:
        """Writes the heads and the report as safetensors.

        Raises:
            OSError: The file cannot be written.
        """
        state = {
            f"{side}.{name}": tensor
            for side, head in (("image", self.image), ("text", self.text))
            for name, tensor in head.state_dict().items()
        }
        write_arrays(path, state, {"report": json.dumps(asdict(self.report))})

    @classmethod
    def load(cls, path: str | Path) -> "Alignment":
        """The alignment that ``save`` wrote.

        Raises:
            InputError: The file is missing or holds something else.
        """
        arrays = read_arrays(path, None, REMEDY)
        with reading(path, REMEDY):
            with safe_open(path, "np") as file:
                report = json.loads((file.metadata() or {})["report"])
            check_type(report, AlignmentReport, "the report")
            image, text = (_head(arrays, side) for side in SIDES)
            check_names(arrays, {f"{side}.{name}": None for side in SIDES for name in HEAD})
            check_shape(text.linear.shape, (None, image.linear.shape[1]), "text.linear")
        return cls(image, text, AlignmentReport(**report))


def _head(arrays: Mapping[str, NDArray[Any]], side: str) -> Head:
    """One side's head, its sizes as its arrays have them.

    Raises:
        InputError: An array is missing or does not fit the others.
    """
    own = {name: arrays[f"{side}.{name}"] for name in HEAD}
    for name, axes in HEAD.items():
        Expected((None,) * axes).check(own[name], f"{side}.{name}")
    check_shape(own["linear"].shape, (len(own["mean"]), None), f"{side}.linear")
    head = Head(torch.from_numpy(own["mean"]), torch.from_numpy(own["linear"]))
    head.load_state_dict({name: torch.from_numpy(array) for name, array in own.items()})
    return head.eval().requires_grad_(False)


def train_alignment(image: Features, text: Features, seed: int = 0) -> Alignment:
    """Heads trained on the items that have both a picture and a text.

    The linear maps are a ridge-regularised canonical correlation analysis (Hotelling 1936;
    Vinod 1976), in closed form, its ridges by cross-validation; the corrections are trained with
    CLIP's symmetric contrastive loss and learned temperature (Radford et al. 2021, section 2.3).

    Raises:
        InputError: Fewer than 50 items have both, or the features have different rows.
    """
    if len(image.present) != len(text.present):
        raise InputError(
            f"{len(image.present)} pictures and {len(text.present)} texts; give both for the same "
            "items in the same order"
        )
    rows = np.flatnonzero(image.present & text.present)
    if len(rows) < MIN_PAIRS:
        raise InputError(
            f"only {len(rows)} items have both a picture and a text; alignment needs {MIN_PAIRS}. "
            "Add texts or pictures to the catalog, or use a CLIP "
            "(--image-encoder open_clip:MODEL/TAG, the same for --text-encoder), "
            "which needs no alignment"
        )
    pictures, texts = (torch.from_numpy(side.vectors[rows]) for side in (image, text))
    with torch.random.fork_rng(devices=[]):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        n = min(MOST_ASKED, int(len(rows) * HELD_OUT))
        held, rest = order[:n], order[n:]
        ridges = _ridges(pictures[rest], texts[rest])
        heads = _fit(pictures[rest], texts[rest], seed, ridges)
        with torch.inference_mode():
            ranks = _ranks(heads[0](pictures[held]), heads[1](texts[held]))
        first, ten = ((ranks <= k).float().mean().item() for k in (1, 10))
        report = AlignmentReport(len(rows), n, first, ten, ranks.median().item())
        return Alignment(*_fit(pictures, texts, seed, ridges), report)


def _ranks(image: Tensor, text: Tensor) -> Tensor:
    """The rank ``[n]``, from 1, of each text's own picture; both are ``[n, r]`` at unit length."""
    scores = text @ image.T
    return (scores > scores.diagonal()[:, None]).sum(dim=1).float() + 1


def _ridges(image: Tensor, text: Tensor) -> tuple[float, float]:
    """The ridges by which pairs left out find each other best: the mean of 1 / rank."""
    gains = dict.fromkeys(RIDGES, 0.0)
    for fold in range(FOLDS):
        left = torch.arange(fold, len(image), FOLDS)
        kept = torch.ones(len(image), dtype=torch.bool).index_fill(0, left, False)
        asked = left[:MOST_ASKED]
        moments = Moments.of(image[kept], text[kept])
        for ridges in RIDGES:
            heads = [Head(*side) for side in moments.canonical(ridges)]
            ranks = _ranks(heads[0].shared(image[asked]), heads[1].shared(text[asked]))
            gains[ridges] += (1 / ranks).mean().item()
    return max(gains, key=lambda ridges: gains[ridges])


def _fit(image: Tensor, text: Tensor, seed: int, ridges: tuple[float, float]) -> tuple[Head, Head]:
    torch.manual_seed(seed)
    image_map, text_map = Moments.of(image, text).canonical(ridges)
    heads = Head(*image_map), Head(*text_map)
    _contrast(*heads, heads[0].shared(image), heads[1].shared(text))
    for head in heads:
        head.eval().requires_grad_(False)
    return heads


@dataclass(frozen=True)
class Moments:
    """Means, spectra and covariance of pairs, from which their canonical maps follow.

    Attributes:
        means: ``[d]`` of either side.
        spectra: Eigenvalues ``[d]`` and eigenvectors ``[d, d]`` of either side's covariance.
        cross: ``[d_image, d_text]`` covariance in these eigenvectors.
    """

    means: tuple[Tensor, Tensor]
    spectra: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    cross: Tensor

    @classmethod
    def of(cls, image: Tensor, text: Tensor) -> "Moments":
        """Of pairs, ``[n, d_image]`` and ``[n, d_text]`` of any length."""
        units = [nn.functional.normalize(side, dim=-1) for side in (image, text)]
        means = units[0].mean(dim=0), units[1].mean(dim=0)
        x, y = (unit - mean for unit, mean in zip(units, means, strict=True))
        spectra = _spectrum(x), _spectrum(y)
        cross = (x @ spectra[0][1]).T @ (y @ spectra[1][1]) / len(x)
        return cls(means, spectra, cross)

    def canonical(self, ridges: tuple[float, float]) -> list[tuple[Tensor, Tensor]]:
        """Mean ``[d]`` and map ``[d, r]`` of either side; directions weigh by their correlation."""
        scales = [
            (values + ridge * values.mean() + torch.finfo(values.dtype).eps).rsqrt()
            for (values, _), ridge in zip(self.spectra, ridges, strict=True)
        ]
        left, correlation, right = torch.linalg.svd(
            scales[0][:, None] * self.cross * scales[1], full_matrices=False
        )
        return [
            (mean, vectors @ (scale[:, None] * turned * correlation))
            for mean, (_, vectors), scale, turned in zip(
                self.means, self.spectra, scales, (left, right.T), strict=True
            )
        ]


def _spectrum(centred: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    return values.clamp(min=0), vectors


def _contrast(image_head: Head, text_head: Head, image: Tensor, text: Tensor) -> None:
    """Trains the corrections on shared vectors ``[n, r]`` of pairs."""
    log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
    groups = [
        {"params": [*image_head.parameters(), *text_head.parameters()], "weight_decay": DECAY},
        {"params": [log_scale], "weight_decay": 0.0},
    ]
    batch = min(BATCH, len(image))
    steps = min(MAX_STEPS, 30 * (len(image) // batch))
    optimizer = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    order, labels = torch.empty(0, dtype=torch.long), torch.arange(batch)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(image))
        rows, order = order[:batch], order[batch:]
        logits = image_head.corrected(image[rows]) @ text_head.corrected(text[rows]).T
        logits = logits * log_scale.exp().clamp(max=100)
        loss = nn.functional.cross_entropy(logits, labels)
        loss = (loss + nn.functional.cross_entropy(logits.T, labels)) / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
