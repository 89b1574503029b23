"""Equal items stand in the order of the catalog, whoever else asks and however many threads."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch

from p5mm.data.catalog import Catalog
from p5mm.data.dataset import Dataset
from p5mm.encoders.store import FeatureStore
from p5mm.serving import server
from p5mm.serving.recommender import Recommender
from p5mm.training.fit import fit

EQUALS = 6  # kinds of new items; of each there are many


@pytest.fixture(scope="module")
def recommender(toys):
    """The toy shop with new items, many of them equal."""
    rng = np.random.default_rng(5)
    new = [
        {"item_id": f"d{n:03}", "title": f"ring{n % 3} step{n % 2}",
         "style": toys.style(n % 3, n % 2)}
        for n in rng.permutation(90).tolist()
    ]  # fmt: skip
    shop = toys.toy_dataset()
    more = pa.Table.from_pylist(new, schema=toys.SCHEMA)
    catalog = Catalog.from_table(pa.concat_tables([shop.catalog.table.select(more.schema.names),
                                                   more]))  # fmt: skip
    dataset = Dataset(catalog, shop.interactions, shop.log)
    return Recommender(toys.with_reranker(fit(dataset, toys.toy_config(epochs=2), FeatureStore())))


def asked(recommender):
    rng = np.random.default_rng(1)
    histories = [
        [f"r{rng.integers(4)}s{rng.integers(10)}" for _ in range(rng.integers(12))]
        for _ in range(60)
    ]
    return recommender.recommend(histories=histories, k=40)


def test_neither_batch_nor_threads_move_equal_items(recommender, monkeypatch):
    whole = asked(recommender)
    kept = torch.get_num_threads()
    for size, threads in ((1, 1), (7, 1), (64, 2)):
        monkeypatch.setattr(server, "BATCH", size)
        torch.set_num_threads(threads)
        again = asked(recommender)
        assert again.drop_columns(["score"]).equals(whole.drop_columns(["score"]))
        np.testing.assert_allclose(again["score"], whole["score"], atol=1e-4)
    torch.set_num_threads(kept)


def test_equal_items_stand_in_the_order_of_the_catalog(recommender):
    rows, pairs = recommender.model.catalog.rows, 0
    table = asked(recommender).to_pylist()
    for one, other in pairwise(table):
        ids = one["item_id"], other["item_id"]
        new = one["user_id"] == other["user_id"] and ids[0][0] == ids[1][0] == "d"
        if new and int(ids[0][1:]) % EQUALS == int(ids[1][1:]) % EQUALS:
            pairs += 1
            assert rows[ids[0]] < rows[ids[1]]
    assert pairs > 100
