"""Several catalogs side by side: each learns on its own items, one network on all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from p5mm.config import Way
from p5mm.data.dataset import Dataset
from p5mm.data.histories import Histories
from p5mm.data.split import Cases
from p5mm.encoders.base import Features
from p5mm.errors import InputError
from p5mm.model.batches import Batch, Passes, history_batch
from p5mm.model.network import Network
from p5mm.training.retrieval_objective import RetrievalObjective
from p5mm.training.training_data import TrainingData

TEMPERATURE = 2.0  # a domain's share of the steps goes with the root of its size


@dataclass(frozen=True)
class Domain:
    """A catalog among others.

    Attributes:
        name: Of its folder.
        data: What is learned from, in rows of its own catalog.
        start: Where its rows begin among those of all catalogs.
    """

    name: str
    data: TrainingData
    start: int

    @property
    def train(self) -> Histories:
        """Training histories in rows of all catalogs, ratings of mean 0 and spread 1."""
        train, (mean, spread) = self.data.train, self.data.rating_scale
        return replace(train, items=train.items + self.start, ratings=_scaled(train, mean, spread))

    @property
    def rows(self) -> NDArray[np.int64]:
        """``[items]`` where the items that are learned from are among those of all catalogs."""
        return self.data.rows + self.start

    @property
    def valid(self) -> Cases:
        """Validation cases, in numbers of ``rows``, ratings of mean 0 and spread 1."""
        cases, (mean, spread) = self.data.split.cases("valid"), self.data.rating_scale
        histories = replace(cases.histories, ratings=_scaled(cases.histories, mean, spread))
        return replace(cases, histories=histories)


def joined(datasets: Mapping[str, Dataset], way: Way = "leave-one-out") -> list[Domain]:
    """The domains of data sets, one after the other.

    Args:
        datasets: Name to catalog and log.
        way: How each is split.

    Raises:
        InputError: One has too few interactions; the message names it.
    """
    domains, start = [], 0
    for name, dataset in datasets.items():
        try:
            domains.append(Domain(name, TrainingData.of(dataset, way), start))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        start += len(dataset.catalog)
    return domains


def joined_features(parts: Sequence[Sequence[Features]], items: Sequence[int]) -> list[Features]:
    """The features of all catalogs as those of one; what a catalog lacks its items lack.

    Args:
        parts: Of each catalog.
        items: Of each catalog.

    Raises:
        InputError: One modality comes from two encoders.
    """
    first = {encoded.modality: encoded for encoded in chain(*parts)}
    for encoded in chain(*parts):
        if encoded.fingerprint != first[encoded.modality].fingerprint:
            raise InputError(
                f"the {encoded.modality} vectors of the catalogs are made by two encoders, "
                f"{encoded.spec} and {first[encoded.modality].spec}; take one"
            )
    return [_side_by_side(encoded, parts, items) for encoded in first.values()]


@dataclass(frozen=True)
class Mixture:
    """Batches of several domains in turn, each batch of one.

    Attributes:
        domains: Passes over the histories of each.
        seed: Of the order.
    """

    domains: Sequence[Passes]
    seed: int

    def __call__(self, number: int) -> Iterator[Batch]:
        """The batches of one pass; a small domain is passed more than once, a large one not all."""
        turns = np.repeat(np.arange(len(self.domains)), self.counts)
        streams = [_stream(domain, number) for domain in self.domains]
        for turn in np.random.default_rng((self.seed, number)).permutation(turns):
            yield next(streams[turn])

    @property
    def counts(self) -> list[int]:
        """Batches of each domain in a pass: in all as many as all have, by the root of the size."""
        sizes = np.array([domain.steps for domain in self.domains])
        shares = sizes ** (1 / TEMPERATURE)
        return [max(1, round(n)) for n in sizes.sum() * shares / shares.sum()]

    @property
    def steps(self) -> float:
        """Batches of a pass."""
        return float(sum(self.counts))


@dataclass(frozen=True)
class DomainObjective(RetrievalObjective):
    """The retriever's loss, whose negatives are items of the batch's own domain.

    Attributes:
        starts: Where the rows of each domain begin, ascending.
    """

    starts: tuple[int, ...] = (0,)

    def pool(self, network: Network, batch: Batch) -> Tensor:
        """Items of the domain that the targets are of."""
        rows = network.items.trained_rows
        of = int(torch.searchsorted(torch.tensor(self.starts), batch.targets.max(), right=True))
        ends = (*self.starts[1:], len(network.items))
        return rows[(rows >= self.starts[of - 1]) & (rows < ends[of - 1])]


class ContentRanker:
    """Ranks the items of one domain by the network alone.

    Args:
        network: In evaluation mode.
        domain: Whose items are ranked.
        max_history: Items of a history that are read.
    """

    def __init__(self, network: Network, domain: Domain, max_history: int) -> None:
        self.network = network
        self.max_history = max_history
        with torch.inference_mode():
            self.tokens = network.items(torch.from_numpy(domain.rows))
            self.vectors = network.vectors(self.tokens)

    @torch.inference_mode()
    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """``[b, items]`` cosines of histories in numbers of the domain's items."""
        encoded = self.network.encode(self.tokens, history_batch(histories, self.max_history))
        scores: NDArray[np.float32] = (encoded.last @ self.vectors.T).numpy()
        return scores


def _scaled(histories: Histories, mean: float, spread: float) -> NDArray[np.float32] | None:
    return None if histories.ratings is None else (histories.ratings - mean) / spread


def _stream(domain: Passes, number: int) -> Iterator[Batch]:
    """Pass after pass, other ones for each number."""
    return chain.from_iterable(domain(number * 1_000 + further) for further in count())


def _side_by_side(
    like: Features, parts: Sequence[Sequence[Features]], items: Sequence[int]
) -> Features:
    """One modality of all catalogs."""
    vectors = np.zeros((sum(items), like.vectors.shape[1]), dtype=np.float32)
    present = np.zeros(sum(items), dtype=np.bool_)
    start = 0
    for features, size in zip(parts, items, strict=True):
        for encoded in features:
            if encoded.modality == like.modality:
                vectors[start : start + size] = encoded.vectors
                present[start : start + size] = encoded.present
        start += size
    return Features(like.modality, like.spec, like.fingerprint, vectors, present)
