"""New items in a trained recommender: content in, no training."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import torch

from p5mm.catalog import Catalog
from p5mm.catalog_index import CatalogIndex
from p5mm.encoders.store import FeatureStore
from p5mm.encoding import encode_catalog
from p5mm.errors import InputError
from p5mm.model import Network
from p5mm.network import build_network
from p5mm.pictures import Picture
from p5mm.rating_prior import RatingPrior
from p5mm.recommender import Recommender


def add_items(model: Recommender, new: Catalog | CatalogIndex, store: FeatureStore) -> Recommender:
    """See ``Recommender.add_items``."""
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
        features = encode_catalog(catalog, model.config.encoders, store)
    content = model.content.extended(features, len(catalog))
    trained = torch.cat([model.network.items.trained, torch.zeros(len(catalog), dtype=torch.bool)])
    prior = _grown_prior(model.network.rating_prior, len(catalog))
    network = build_network(model.config.model, content, trained, model.network.t5, prior)
    _take_weights(network, model.network)
    return Recommender(
        model.config,
        _joined(model.catalog, catalog),
        model.log,
        content,
        network,
        model.tokenizer,
        _grown(model.similar, content.items),
        model.fitted,
    )


def _take_weights(network: Network, known: Network) -> None:
    """The trained weights; a new item's id residual is never used, whatever it is."""
    state = known.state_dict()
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
    )
    grown.slopes, grown.offsets = prior.slopes, prior.offsets
    return grown


def _joined(known: Catalog, new: Catalog) -> Catalog:
    table = pa.concat_tables([known.table, new.table], promote_options="default")
    pictures: list[Picture | None] | None = None
    if known.pictures is not None or new.pictures is not None:
        pictures = [*_pictures(known), *_pictures(new)]
    quarantine = (*known.quarantine, *new.quarantine)
    return replace(known, table=table, pictures=pictures, quarantine=quarantine)


def _pictures(catalog: Catalog) -> list[Picture | None]:
    return [None] * len(catalog) if catalog.pictures is None else list(catalog.pictures)


def _grown(similar: Any, items: int) -> Any:
    """The same neighbours among more items: a new item has none."""
    grown = similar.copy()
    grown.resize((items, items))
    return grown
