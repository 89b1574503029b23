"""Items of a catalog in a trained model: content in, no training."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from p5mm.data.catalog import Catalog
from p5mm.encoders.base import Features
from p5mm.encoders.store import FeatureStore
from p5mm.encoders.values.cost import Cost
from p5mm.encoders.values.several import flattened
from p5mm.errors import counted, shown
from p5mm.evidence.cold_items import ColdItems
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.cost import costs
from p5mm.indexing.encode import Tower, catalog_encoders, check_any, encode_by
from p5mm.model.build import build_network
from p5mm.model.content import Content
from p5mm.model.item_codes import ItemCodes
from p5mm.model.network import Network
from p5mm.model.rating_prior import RatingPrior
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.codes import Codes
from p5mm.serving.folder import OF_ITEMS, read_model, write_items
from p5mm.serving.upkeep.offer import Offer
from p5mm.serving.upkeep.rows import changed_folder, check_writable
from p5mm.steady import replaced_in_turn

NEAR = 0.01  # of its length: a vector that moves less is the same, encoded on another machine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Addition:
    """What the items of a catalog are to a model.

    Attributes:
        added: Ids that it did not have, or served no more.
        changed: Ids of which a column or a vector is another now.
        known: How many it has as they are.
        recased: Of those added, the ids that differ from a known one in case alone.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    known: int
    recased: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{len(self.added):,} added, {len(self.changed):,} changed, {self.known:,} known"

    def __bool__(self) -> bool:
        return bool(self.added or self.changed)

    def lines(self) -> list[str]:
        """One line an item: + added, ~ changed, and its id."""
        return [f"+ {item}" for item in self.added] + [f"~ {item}" for item in self.changed]


def with_items(
    model: TrainedModel,
    given: Catalog | CatalogIndex,
    store: FeatureStore,
    trust: Collection[str] = (),
) -> tuple[TrainedModel, Addition]:
    """A model that also knows the items of a catalog, by their content; nothing is trained.

    Known items take the content that the catalog gives; what it does not say of one stays. Ids,
    weights and codes of known items stay, too. Items that were deleted come back.

    Args:
        model: Trained; not changed.
        given: A catalog to be encoded, or a catalog index whose vectors are taken.
        store: Where item vectors are kept.
        trust: Specs of encoders that the model's folder may name although they import code, open
            a path or ask a hub.

    Raises:
        InputError: A column is of another type than the model's, or the index was made by other
            encoders.
    """
    offer = Offer.of(model, given.catalog if isinstance(given, CatalogIndex) else given)
    if isinstance(given, CatalogIndex):
        features = list(given.features.values())
    else:
        towers = towers_of(model, offer, trust)
        _readable(model, offer, towers)
        features = encode_by(towers, offer.catalog, model.config.encoders, store, prepared=True)
        check_any(offer.catalog, towers, features)
        _tell_quarantined(offer.catalog, features)
    items = offer.items
    content = model.content.placed(features, offer.rows, items)
    changed = offer.other_cells | (offer.known & _moved(model.content, content, offer.rows))
    done = _told(model, offer, changed)
    if not done:
        return model, done
    new = model.content.placed(
        [_some(of, changed | ~offer.known) for of in features],
        offer.rows[changed | ~offer.known],
        items,
    )
    there = np.logical_or.reduce([np.zeros(offer.items, np.bool_), *new.present.values()])
    _tell_unknown(offer, there[offer.rows])
    return _grown(model, offer.joined(changed), new, done), done


def add_to_model(
    folder: str | Path, given: Catalog | CatalogIndex, trust: Collection[str] = ()
) -> Addition:
    """Add the items of a catalog to a model's folder; what of it does not change is kept.

    Args:
        folder: Of the model.
        given: As for `with_items`.
        trust: As for `with_items`.

    Raises:
        InputError: The folder is no model, or as `with_items` says.
        OSError: It cannot be written.
    """

    def prepare() -> Callable[[], Addition]:
        model = read_model(Path(folder))
        check_writable(folder)
        return partial(_write, folder, *with_items(model, given, FeatureStore(), trust))

    return replaced_in_turn(folder, prepare)


def foreseen(
    folder: str | Path, given: Catalog | CatalogIndex, trust: Collection[str] = ()
) -> tuple[Addition, list[Cost]]:
    """What `add_to_model` would add, and what encoding would cost; nothing is written.

    What cannot be added is refused as there. Of known items only the columns are compared; whether
    their pictures are others shows when they are encoded.

    Raises:
        InputError: As `add_to_model`.
    """
    model = read_model(Path(folder))
    check_writable(folder)
    if isinstance(given, CatalogIndex):
        return with_items(model, given, FeatureStore())[1], []
    offer = Offer.of(model, given)
    towers = towers_of(model, offer, trust)
    there = _readable(model, offer, towers)
    done = _told(model, offer, offer.other_cells)
    _tell_unknown(offer, there)
    return done, costs(offer.catalog, towers, FeatureStore())


def towers_of(model: TrainedModel, offer: Offer, trust: Collection[str] = ()) -> list[Tower]:
    """The encoders of those modalities of a model of which a catalog says something.

    Raises:
        InputError: One cannot be made, or may not come from where it does.
    """
    towers = catalog_encoders(
        offer.catalog, model.config.encoders, origin=model.origin, allowed=trust
    )
    return [
        tower
        for tower in towers
        if tower.encoder.modality in model.content.vectors and offer.gives(tower.source)
    ]


def _readable(model: TrainedModel, offer: Offer, towers: Sequence[Tower]) -> NDArray[np.bool_]:
    """``[m]`` True for items of which an encoder has something to read; all fits the model.

    Raises:
        InputError: Vectors would be none that the model reads.
    """
    readable = np.zeros(len(offer.catalog), np.bool_)
    for tower in towers:
        raws, encoder = tower.raws(offer.catalog)[0], tower.encoder
        there = np.array([raw is not None for raw in raws], np.bool_)
        if hasattr(encoder, "prepare"):
            encoder.prepare(flattened(raws)[0])
        if there.any():
            made = encoder.modality, tower.spec, encoder.fingerprint, encoder.dim
            model.content.check_made(*made)
        readable |= there
    return readable


def _grown(model: TrainedModel, catalog: Catalog, content: Content, done: Addition) -> TrainedModel:
    """The model with another catalog, whose first items are its own, and its content."""
    more = len(catalog) - len(model.catalog)
    trained = F.pad(model.network.items.trained, (0, more))
    prior = _grown_prior(model.network.rating_prior, more)
    network = build_network(model.config.model, content, trained, model.network.t5, prior)
    _take_weights(network, model.network)
    if model.network.codes is not None:
        cold = ColdItems.of(network.items, model.config.cold)
        network.codes = _grown_codes(model.network.codes, network, cold, catalog.item_ids)
    return replace(
        model,
        catalog=catalog,
        content=content,
        network=network.eval(),
        counts=model.counts.grown(content.items),
        saved_index=None,
        deleted=model.deleted.difference(done.added),
        added=model.added + more,
    )


def _moved(before: Content, after: Content, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``[m]`` True where a known item at ``rows`` ``[m]`` has another vector than before."""
    moved = np.zeros(len(rows), np.bool_)
    known = np.flatnonzero(rows < before.items)
    at = rows[known]
    for name, vectors in before.vectors.items():
        was, now = vectors[at], after.vectors[name][at]
        far = np.linalg.norm(now - was, axis=1) > NEAR * np.linalg.norm(was, axis=1)
        moved[known] |= far | (before.present[name][at] != after.present[name][at])
    return moved


def _some(features: Features, which: NDArray[np.bool_]) -> Features:
    return replace(
        features, vectors=features.vectors[which], present=features.present[which], quarantine=()
    )


def _told(model: TrainedModel, offer: Offer, changed: NDArray[np.bool_]) -> Addition:
    ids = offer.catalog.item_ids
    back = np.array([item in model.deleted for item in ids], np.bool_)
    added = tuple(ids[row] for row in np.flatnonzero(~offer.known | back))
    other = tuple(ids[row] for row in np.flatnonzero(changed & ~back))
    cases = {item.casefold() for item in model.catalog.item_ids}
    recased = tuple(
        ids[row] for row in np.flatnonzero(~offer.known) if ids[row].casefold() in cases
    )
    done = Addition(added, other, len(ids) - len(added) - len(other), recased)
    log.info("%s", done)
    if recased:
        some = ", ".join(map(shown, recased[:5]))
        log.warning(
            "%s new in case alone: %s; another case is another item",
            counted(len(recased), "id is", "ids are"),
            some,
        )
    return done


def _tell_quarantined(catalog: Catalog, features: Sequence[Features]) -> None:
    bad = [
        (catalog.item_ids[b.row], of.modality, b.reason) for of in features for b in of.quarantine
    ]
    if bad:
        item, modality, reason = bad[0]
        log.warning(
            "%s could not be used, the first of item %s (%s): %s",
            counted(len(bad), "value"), shown(item), modality, shown(reason),
        )  # fmt: skip


def _tell_unknown(offer: Offer, there: NDArray[np.bool_]) -> None:
    """Say how many new items are never found: all but those ``there`` ``[m]``."""
    lost = np.flatnonzero(~offer.known & ~there)
    if len(lost):
        log.warning(
            "%s nothing that the model reads, such as '%s': never found",
            counted(len(lost), "new item has", "new items have"),
            shown(offer.catalog.item_ids[lost[0]]),
        )  # fmt: skip


def _take_weights(network: Network, known: Network) -> None:
    """The trained weights; a new item has no id residual before a training gives it one."""
    state = {k: v for k, v in known.state_dict().items() if not k.startswith("codes.")}
    residual = torch.zeros_like(network.items.residual.weight)
    residual[: len(known.items)] = state["items.residual.weight"]
    state["items.residual.weight"] = residual
    state["items.trained"] = network.items.trained
    if network.rating_prior is not None:
        state |= {f"rating_prior.{n}": v for n, v in network.rating_prior.state_dict().items()}
    network.load_state_dict(state)


def _grown_prior(prior: RatingPrior | None, new: int) -> RatingPrior | None:
    """The same prior of more items: a new one has no ratings."""
    if prior is None:
        return None
    nothing = torch.zeros(new)
    grown = RatingPrior(
        torch.cat([prior.totals, nothing]),
        torch.cat([prior.counts, nothing]),
        [0.0] * len(prior.slopes),
        prior.settings,
    )
    grown.slopes, grown.offsets = prior.slopes, prior.offsets
    return grown


@torch.no_grad()
def _grown_codes(
    known: ItemCodes, network: Network, cold: ColdItems, item_ids: Sequence[str]
) -> ItemCodes:
    """The same codes with those of new items, by assignment; the old ones stay what they were."""
    books = Codes(known.books.numpy())
    digits = F.pad(known.digits, (0, 0, 0, len(item_ids) - len(known.digits)), value=-1)
    new = torch.nonzero(network.items.known & (digits[:, 0] < 0)).flatten()
    network.eval()
    vectors = network.vectors(cold.adopt(network.items()))[new].numpy()
    given = known.digits[known.digits[:, 0] >= 0].numpy()
    ids = [item_ids[row] for row in new.tolist()]
    digits[new] = torch.from_numpy(books.unique(vectors, ids, given))
    grown = ItemCodes(known.books, digits)
    grown.turn, grown.bias = known.turn, known.bias
    return grown


def _write(folder: str | Path, model: TrainedModel, done: Addition) -> Addition:
    if done:
        with changed_folder(folder, OF_ITEMS) as draft:
            write_items(model, draft)
    return done
