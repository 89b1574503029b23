"""A toy shop whose next item is known, without network, downloads or heavy encoders."""

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from html.parser import HTMLParser
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import settings

from p5mm.config import Config, EncoderConfig, ModelConfig, RetrievalConfig, TrainConfig
from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.data.interactions import Interactions
from p5mm.encoders.base import encoders
from p5mm.encoders.store import FeatureStore
from p5mm.model.t5 import T5
from p5mm.model.tokenizer import EOS
from p5mm.ranking.trained_model import TrainedModel
from p5mm.ranking.writing import Written, beams
from p5mm.training.fit import fit

settings.register_profile("p5mm", deadline=None)  # a busy machine is no error
settings.load_profile("p5mm")

RINGS, STEPS, USERS = 4, 10, 80
COLD = "cold"  # looks like an item of ring 0, and nobody has taken it


@encoders.register("toy.text")
class ToyText:
    """Each word is a fixed random vector; a text is their sum."""

    modality = "text"
    dim = 12
    fingerprint = "toy text, version 1"
    one_thread = True

    def load(self, raw: Any) -> np.ndarray:
        if not isinstance(raw, str):
            raise ValueError("not a text")
        seeds = [int.from_bytes(blake2b(w.encode(), digest_size=4).digest()) for w in raw.split()]
        return sum((np.random.default_rng(s).normal(size=self.dim) for s in seeds), np.zeros(12))

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(batch, dtype=np.float32).reshape(-1, self.dim)


@pytest.fixture(scope="session", autouse=True)
def quiet_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, and a feature store that is thrown away."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("P5MM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def ring_item(ring: int, step: int) -> str:
    return f"r{ring}s{step % STEPS}"


def toy_catalog(order: Sequence[int] | None = None) -> Catalog:
    """Items in rings, with a text and a vector; item r0s0 has no vector, r1s1 no text."""
    places = [(ring, step) for ring in range(RINGS) for step in range(STEPS)]
    rows = [
        {
            "item_id": ring_item(ring, step),
            "title": None if (ring, step) == (1, 1) else f"ring{ring} step{step}",
            "style": None if (ring, step) == (0, 0) else style(ring, step),
        }
        for ring, step in places
    ]
    rows.append({"item_id": COLD, "title": "ring0 step4", "style": style(0, 4)})
    chosen = rows if order is None else [rows[i] for i in order]
    return Catalog.from_table(pa.Table.from_pylist(chosen, schema=SCHEMA))


SCHEMA = pa.schema(
    [("item_id", pa.string()), ("title", pa.string()), ("style", pa.list_(pa.float32()))]
)


def style(ring: int, step: int) -> list[float]:
    angle = 2 * np.pi * step / STEPS
    return [*np.eye(RINGS)[ring].tolist(), float(np.cos(angle)), float(np.sin(angle))]


def toy_rows() -> list[tuple[str, str, int, float]]:
    """Each shopper walks one ring, step by step, from anywhere; the first half rates high."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        start, length = int(rng.integers(STEPS)), int(rng.integers(5, STEPS))
        for time in range(length):
            step = (start + time) % STEPS
            item = ring_item(user % RINGS, step)
            rows.append((f"u{user}", item, time, 5.0 if step < STEPS // 2 else 2.0))
    return rows


def toy_dataset(order: Sequence[int] | None = None) -> Dataset:
    log = Interactions.from_rows(toy_rows())
    return Dataset(toy_catalog(order), log, log)


def toy_config(**train: Any) -> Config:
    settings: dict[str, Any] = {
        "epochs": 8, "patience": 8, "positions": 128, "learning_rate": 5e-3, "warmup": 10,
        "precision": "fp32",
        "tasks": {"sequential": 0.5, "direct": 0.1, "rating": 0.5},
    }  # fmt: skip
    return Config(
        encoders=EncoderConfig(text="toy", others=("vector:style",), workers=0),
        model=ModelConfig(
            d_model=32, layers=1, dropout=0.1, max_history=8, soft_tokens=2, id_dropout=0.3
        ),
        train=replace(TrainConfig(**settings), **train),
        retrieval=RetrievalConfig(candidates=12),
    )


def with_reranker(model: TrainedModel) -> TrainedModel:
    """The same model with a reranker of strong opinions, which the toy shop has no need of."""
    network = copy.deepcopy(model.network)
    torch.nn.init.normal_(network.rank_head.weight, generator=torch.Generator().manual_seed(0))
    fitted = replace(model.fitted, weights={"decoder": 0.7, "neighbours": 2.0})
    return replace(model, network=network, fitted=fitted)


VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags close in order; keeps attributes and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        # a paragraph may end by itself; nothing else in the templates does
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.append(data)

    @property
    def text(self) -> str:
        """The visible text, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def find(self, tag: str, name: str) -> list[str]:
        """Values of an attribute of a tag, in order."""
        return [v for t, n, v in self.attributes if t == tag and n == name]


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T5 that never ends a text."""
    logits = T5.token_logits

    def never(t5: T5, states: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        found = logits(t5, states, tokens)
        return found.index_fill(-1, torch.tensor([EOS]), -1e9) if tokens is None else found

    monkeypatch.setattr(T5, "token_logits", never)


@pytest.fixture
def written_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], list[Written]]:
    """What a module's beam searches come to, one after the other."""

    def watch(module: ModuleType) -> list[Written]:
        found: list[Written] = []

        def watched(*args: Any, **how: Any) -> Written:
            found.append(beams(*args, **how))
            return found[-1]

        monkeypatch.setattr(module, "beams", watched)
        return found

    return watch


@pytest.fixture(scope="session")
def page_of() -> type[Page]:
    """Parses HTML as a browser without mercy."""
    return Page


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """This module, for tests that make toy shops of their own."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def fitted() -> TrainedModel:
    return fit(toy_dataset(), toy_config(), FeatureStore())


@pytest.fixture(scope="session")
def toy(fitted: TrainedModel) -> TrainedModel:
    """The toy shop's model, reranking."""
    return with_reranker(fitted)
