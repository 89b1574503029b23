"""New items in a trained recommender: content in, no training."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import pyarrow as pa
import torch
from torch.nn import functional as F

from p5mm.data.catalog import Catalog
from p5mm.data.pictures import Pictures
from p5mm.encoders.store import FeatureStore
from p5mm.errors import InputError, shown
from p5mm.evidence.cold_items import ColdItems
from p5mm.indexing.catalog_index import CatalogIndex
from p5mm.indexing.encode import encode_catalog
from p5mm.model.build import build_network
from p5mm.model.item_codes import ItemCodes
from p5mm.model.network import Network
from p5mm.model.rating_prior import RatingPrior
from p5mm.ranking.trained_model import TrainedModel
from p5mm.retrieval.codes import Codes


def add_items(
    model: TrainedModel,
    new: Catalog | CatalogIndex,
    store: FeatureStore,
    trust: Collection[str] = (),
) -> TrainedModel:
    """A model that also knows new items, by their content alone; nothing is trained.

    Args:
        model: Trained; not changed.
        new: A catalog to be encoded, or a catalog index whose vectors are taken.
        store: Where item vectors are kept.
        trust: Specs of encoders that the model's folder may name although they import code, open
            a path or ask a hub.

    Raises:
        InputError: An item is known already, or the index was made by other encoders.
    """
    catalog = new.catalog if isinstance(new, CatalogIndex) else new
    twice = sorted(set(catalog.item_ids) & set(model.catalog.rows))
    if twice:
        raise InputError(
            f"{len(twice)} of the new items are known already, such as '{twice[0]}'; give only "
            "items that the model does not have"
        )
    if isinstance(new, CatalogIndex):
        features = list(new.features.values())
    else:
        features = encode_catalog(
            catalog, model.config.encoders, store, origin=model.origin, allowed=trust
        )
    content = model.content.extended(features, len(catalog))
    trained = torch.cat([model.network.items.trained, torch.zeros(len(catalog), dtype=torch.bool)])
    prior = _grown_prior(model.network.rating_prior, len(catalog))
    network = build_network(model.config.model, content, trained, model.network.t5, prior)
    _take_weights(network, model.network)
    joined = _joined(model.catalog, catalog)
    if model.network.codes is not None:
        cold = ColdItems.of(network.items, model.config.cold)
        network.codes = _grown_codes(model.network.codes, network, cold, joined.item_ids)
    return replace(
        model,
        catalog=joined,
        content=content,
        network=network.eval(),
        counts=model.counts.grown(content.items),
        saved_index=None,
    )


def _take_weights(network: Network, known: Network) -> None:
    """The trained weights; a new item's id residual is never used, whatever it is."""
    state = {k: v for k, v in known.state_dict().items() if not k.startswith("codes.")}
    residual = network.state_dict()["items.residual.weight"].clone()
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
    begin, books = len(known.digits), Codes(known.books.numpy())
    new = torch.nonzero(network.items.known).flatten()
    new = new[new >= begin]
    network.eval()
    vectors = network.vectors(cold.adopt(network.items()))[new].numpy()
    given = known.digits[known.digits[:, 0] >= 0].numpy()
    digits = F.pad(known.digits, (0, 0, 0, len(item_ids) - begin), value=-1)
    ids = [item_ids[row] for row in new.tolist()]
    digits[new] = torch.from_numpy(books.unique(vectors, ids, given))
    grown = ItemCodes(known.books, digits)
    grown.turn, grown.bias = known.turn, known.bias
    return grown


def _joined(known: Catalog, new: Catalog) -> Catalog:
    """One catalog; a column of two types takes one that holds both.

    Raises:
        InputError: A column has types that do not agree.
    """
    try:
        table = pa.concat_tables([known.table, new.table], promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            "the new items have a column of another type than those of the model "
            f"({shown(str(error))[:200]}); write it as the model's catalog has it"
        ) from error
    pictures: list[Pictures | None] | None = None
    if known.pictures is not None or new.pictures is not None:
        pictures = [*_pictures(known), *_pictures(new)]
    quarantine = (*known.quarantine, *new.quarantine)
    return replace(known, table=table, pictures=pictures, quarantine=quarantine)


def _pictures(catalog: Catalog) -> list[Pictures | None]:
    return [None] * len(catalog) if catalog.pictures is None else list(catalog.pictures)
