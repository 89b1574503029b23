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
# Ridge of either side's whitening, in mean eigenvalues of its covariance.
RIDGE = {"image": 1.0, "text": 0.1}
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
    """

    pairs: int
    held_out: int
    recall_at_1: float
    recall_at_10: float

    def __str__(self) -> str:
        return (
            f"aligned on {self.pairs:,} pairs; of {self.held_out:,} texts held out "
            f"{self.recall_at_1:.0%} find their own picture first among {self.held_out:,}, "
            f"{self.recall_at_10:.0%} within ten"
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
    Vinod 1976), in closed form; the corrections are trained with CLIP's symmetric contrastive
    loss and learned temperature (Radford et al. 2021, section 2.3).

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
        report = _hold_out(pictures, texts, seed)
        return Alignment(*_fit(pictures, texts, seed), report)


def _hold_out(image: Tensor, text: Tensor, seed: int) -> AlignmentReport:
    order = torch.randperm(len(image), generator=torch.Generator().manual_seed(seed))
    # More than a thousand say little more, and are missed in training.
    n = min(1000, int(len(image) * HELD_OUT))
    image_head, text_head = _fit(image[order[n:]], text[order[n:]], seed)
    with torch.inference_mode():
        scores = text_head(text[order[:n]]) @ image_head(image[order[:n]]).T
    ranks = (scores > scores.diagonal()[:, None]).sum(dim=1)
    shares = [(ranks < k).float().mean().item() for k in (1, 10)]
    return AlignmentReport(len(image), n, *shares)


def _fit(image: Tensor, text: Tensor, seed: int) -> tuple[Head, Head]:
    torch.manual_seed(seed)
    image_map, text_map = _canonical(image, text)
    heads = Head(*image_map), Head(*text_map)
    _contrast(*heads, heads[0].shared(image), heads[1].shared(text))
    for head in heads:
        head.eval().requires_grad_(False)
    return heads


def _canonical(image: Tensor, text: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Mean ``[d]`` and map ``[d, r]`` of either side; directions weigh by their correlation."""
    units = [nn.functional.normalize(x, dim=-1) for x in (image, text)]
    means = [x.mean(dim=0) for x in units]
    x, y = (unit - mean for unit, mean in zip(units, means, strict=True))
    white = [_whitening(z, RIDGE[side]) for side, z in zip(SIDES, (x, y), strict=True)]
    left, correlation, right = torch.linalg.svd(
        white[0] @ (x.T @ y / len(x)) @ white[1], full_matrices=False
    )
    maps = [white[0] @ left * correlation, white[1] @ right.T * correlation]
    return list(zip(means, maps, strict=True))


def _whitening(centred: Tensor, ridge: float) -> Tensor:
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values = values.clamp(min=0)
    floor = ridge * values.mean() + torch.finfo(values.dtype).eps
    white: Tensor = vectors * (values + floor).rsqrt() @ vectors.T
    return white


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
