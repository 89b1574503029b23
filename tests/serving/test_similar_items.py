"""The items nearest to an item."""

import pytest

from p5mm.errors import InputError


def test_similar_items(shop):
    table = shop.similar_items(["r0s4", "r2s1"], k=3)
    assert table.column_names == ["query_id", "item_id", "score", "rank"]
    assert table["query_id"].to_pylist() == ["r0s4"] * 3 + ["r2s1"] * 3
    assert table["rank"].to_pylist() == [1, 2, 3] * 2
    items = table["item_id"].to_pylist()
    assert "r0s4" not in items[:3]
    assert items[0] == "cold"  # its text and vector are those of r0s4
    assert (table["score"].to_numpy() <= 1 + 1e-5).all()
    with pytest.raises(InputError, match="unknown item"):
        shop.similar_items(["r0s44"])


def test_no_similar_items_is_a_table_too(shop):
    none, some = shop.similar_items([], k=3), shop.similar_items(["cold"], k=3)
    assert none.num_rows == 0
    assert none.schema == some.schema
    with pytest.raises(InputError, match="k is 0"):
        shop.similar_items(["cold"], k=0)
