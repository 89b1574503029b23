"""RecTools' SASRec asked for the users of a table; recommend.py runs this by a Python that has it.

    python benchmarks/rectools_sasrec.py LOG USERS

LOG is a Parquet table of user_id, item_id, timestamp, of which an epoch is learned; USERS one of
user_id and history. Prints JSON: seconds for ten items each, and peak memory in MB. RecTools 0.19
wants an older numpy than p5mm, so its Python is one of its own:
pip install "rectools[torch]" "pyarrow<22".
"""

import json
import resource
import sys
import time
from typing import Any

import pandas as pd


def main() -> None:
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    log, users = (pd.read_parquet(path) for path in sys.argv[1:3])
    model = SASRecModel(
        n_factors=128, n_heads=4, n_blocks=2, session_max_len=50, loss="BCE", epochs=1
    )
    model.fit(Dataset.construct(_interactions(log)))
    asked = users.rename(columns={"history": "item_id"}).explode("item_id")
    asked["timestamp"] = asked.groupby("user_id").cumcount()
    dataset = Dataset.construct(_interactions(asked))
    start = time.perf_counter()
    model.recommend(users["user_id"], dataset, k=10, filter_viewed=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mb": peak}))


def _interactions(events: pd.DataFrame) -> Any:
    """Events as RecTools names their columns; a number in order stands for the time."""
    days = pd.to_datetime(events["timestamp"], unit="D")
    table = events[["user_id", "item_id"]].assign(weight=1.0, datetime=days)
    return table.reset_index(drop=True)


if __name__ == "__main__":
    main()
