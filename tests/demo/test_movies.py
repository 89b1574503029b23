import pyarrow.parquet as pq

from p5mm.data.catalog import Catalog
from p5mm.data.interactions import Interactions
from p5mm.demo.movies import write_movies


def test_movies_are_the_hundred_thousand_ratings_of_movielens(tmp_path):
    write_movies(tmp_path)
    catalog = Catalog.read(tmp_path / "catalog.parquet")
    log = Interactions.read(tmp_path / "interactions.parquet")
    assert len(log) == 100_004
    assert len(log.user_ids) == 671
    assert catalog.titles[catalog.rows["1"]] == "Toy Story (1995)"
    assert "Animation" in pq.read_table(tmp_path / "catalog.parquet")["genres"][0].as_py()
    assert catalog.fields == ("text",)
    assert not log.dropped(catalog.item_ids).unknown
