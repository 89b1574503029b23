"""The first day of a shop: nobody has taken anything yet, so items are found by likeness."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from p5mm.data.catalog import Catalog
from p5mm.data.histories import Histories
from p5mm.errors import InputError
from p5mm.evidence.recency import recency
from p5mm.evidence.similarity import WORDS, ItemSimilarity
from p5mm.evidence.words import Words
from p5mm.model.content import Content
from p5mm.model.network import Encoded, Network
from p5mm.ranking.candidates import Candidates, candidate_index
from p5mm.ranking.scorer import Asking, Scorer
from p5mm.retrieval.index import VectorIndex

TEXT = "text"
FADING = 0.7  # an item j places before the last of a history weighs FADING^j


@dataclass(frozen=True)
class FirstDay(Scorer):
    """Ranks by what a base has learned elsewhere, and by likeness to the items of a history.

    In a shop unlike those that a base has learned from, likeness ranks better; in one like them,
    the base does. Which of the two a shop is nobody knows on its first day, so all count alike: the
    cosines of the base's vectors and of each modality's, which find the candidates, and those of
    the words, which rank them with the others (measured: benchmarks/RESULTS.md). Where a log is too
    short to teach more than that, it stays so after a training.

    Attributes:
        dims: Length of the base's part of the vectors, and of each modality's.
    """

    dims: tuple[int, ...] = ()

    @classmethod
    @torch.inference_mode()
    def beginning(
        cls,
        network: Network,
        asking: Asking,
        content: Content,
        catalog: Catalog,
        index: VectorIndex | None = None,
    ) -> "FirstDay":
        """Make the item vectors of a catalog.

        Args:
            network: Of a base, or trained on few interactions.
            asking: How it is asked.
            content: Of the catalog; where it has no texts, words do not count.
            catalog: Whose words are compared.
            index: Of these very vectors; built where None.

        Raises:
            InputError: No item has any content.
        """
        tokens = network.eval().items()
        parts = [network.vectors(tokens), *likeness(content)]
        dims = tuple(part.shape[1] for part in parts)
        vectors = torch.cat(parts, dim=1) / len(parts) ** 0.5
        if index is None:
            index = candidate_index(network, vectors, catalog.item_ids, asking.index)
        known, trained = network.items.known.numpy(), network.items.trained.numpy()
        found = Candidates.of(index, vectors.numpy(), known, trained)
        asking = replace(asking, newcomers=max(asking.candidates, asking.newcomers))
        scorer = cls(network, asking, tokens, vectors, found, dims=dims)
        if not content.is_real(TEXT) or TEXT not in catalog.fields:
            return scorer
        nobody = sp.csr_matrix((len(catalog), len(catalog)), dtype=np.float32)
        alike = ItemSimilarity(nobody, {}, FADING, Words.of(catalog.raw(TEXT)))
        as_one_more = 1 / (len(dims) * network.temperature)
        return replace(scorer, similarity=alike, weights={WORDS: as_one_more})

    def asked(self, encoded: Encoded, histories: Histories) -> Encoded:
        """Look for what the base's query asks for, and for items like those of the history."""
        weights = recency(self._read(histories), len(self.vectors), FADING)
        _, *sums = torch.from_numpy(weights @ self.vectors.numpy()).split_with_sizes(self.dims, 1)
        parts = [encoded.last, *(F.normalize(part, dim=1) for part in sums)]
        wanted = torch.cat(parts, dim=1) / len(parts) ** 0.5
        return replace(encoded, queries=wanted[:, None].expand(-1, encoded.queries.shape[1], -1))


def likeness(content: Content) -> list[Tensor]:
    """Unit vectors ``[n, dim]`` of each modality that some item has.

    Raises:
        InputError: No item has any content.
    """
    there = [name for name, present in content.present.items() if present.any()]
    if not there:
        raise InputError(
            "no item has a picture, a text or a vector, and on a first day nothing else is known; "
            "give the catalog some, or train for an epoch or more"
        )
    return [F.normalize(torch.from_numpy(content.vectors[name]), dim=1) for name in there]


def width(content: Content, d: int) -> int:
    """Length of the vectors of a first day, of which ``d`` are the base's."""
    return d + sum(part.shape[1] for part in likeness(content))
