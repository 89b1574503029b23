"""Torch and onnxruntime recommend the same, whatever is asked."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p5mm.errors import InputError
from p5mm.portable.recommender import PortableRecommender, open_recommender
from p5mm.ranking.shortlist import Shortlist
from p5mm.serving.limits import Limits
from p5mm.serving.recommender import Recommender

ITEMS = st.lists(st.integers(0, 40), unique=True, max_size=41)
UNTITLED = (11,)  # item r1s1
HISTORIES = st.lists(st.lists(st.integers(0, 40), max_size=12), min_size=1, max_size=5)


def ids(recommender, rows):
    return [recommender.model.catalog.item_ids[row] for row in rows]


@given(HISTORIES, st.integers(1, 45), st.booleans())
@settings(max_examples=30)
def test_any_histories_get_the_same(by_torch, by_onnx, agree, histories, k, kept):
    """Empty ones, long ones, of new items, with the same item twice."""
    asked = {"histories": [ids(by_torch, rows) for rows in histories], "k": k}
    asked["filter_seen"] = not kept
    agree(by_torch.recommend(**asked), by_onnx.recommend(**asked))


@given(ITEMS, ITEMS, ITEMS, ITEMS, st.integers(1, 45), st.booleans())
@settings(max_examples=30)
def test_whatever_may_be_shown(by_torch, by_onnx, agree, allow, deny, own, never, k, kept):
    limits = Limits(
        ids(by_torch, allow) or None,
        ids(by_torch, deny),
        {"u2": ids(by_torch, own)},
        {"u3": ids(by_torch, never)},
        where="'ring' in title" if k % 2 else None,
    )
    asked = {"users": ["u1", "u2", "u3"], "k": k, "limits": limits, "filter_seen": not kept}
    if not set(allow or range(41)) - set(deny) - set(UNTITLED if k % 2 else ()):
        with pytest.raises(InputError, match="nothing may be recommended"):
            by_onnx.recommend(**asked)
        return
    agree(by_torch.recommend(**asked), by_onnx.recommend(**asked))


def test_everybody_in_the_log_with_their_ratings(by_torch, by_onnx, agree):
    """Ratings are read: the same items without them are scored otherwise."""
    wanted = by_torch.recommend(k=20)
    agree(wanted, by_onnx.recommend(k=20))
    taken = [ids(by_torch, by_torch.model.histories[row]) for row in range(5)]
    users = by_torch.model.user_ids[:5]
    unrated = by_onnx.recommend(users, histories=taken, k=20)
    agree(by_torch.recommend(users, histories=taken, k=20), unrated)
    rated = by_onnx.recommend(users, k=20)
    assert not np.allclose(unrated["score"].to_numpy(), rated["score"].to_numpy(), atol=1e-3)


def test_the_decoder_reads_a_shortlist_here_too(by_torch, by_onnx, agree):
    whole = by_onnx.recommend(k=14)
    config = by_torch.model.config
    config = replace(config, retrieval=replace(config.retrieval, shortlist=4))
    torch = Recommender(replace(by_torch.model, config=config))
    scorer = by_onnx.scorer
    settings = replace(scorer.settings, shortlist=Shortlist(4, 10))
    onnx = PortableRecommender(replace(by_onnx.model, scorer=replace(scorer, settings=settings)))
    short = onnx.recommend(k=14)
    agree(torch.recommend(k=14), short)
    assert not np.allclose(whole["score"].to_numpy(), short["score"].to_numpy(), atol=1e-2)


def test_bytes_lose_little(by_torch, in_bytes):
    """As many items come back, most of them the same, and scores are near."""
    small = PortableRecommender.load(in_bytes)
    scorer = small.scorer
    assert scorer.tokens.values.dtype == scorer.vectors.values.dtype == np.int8
    assert scorer.candidates.index.factory == "SQ8"
    for limits in (None, Limits(deny=["r0s1", "r1s2", "r2s3"], where="'ring' in title")):
        wanted = by_torch.recommend(k=10, limits=limits)
        found = small.recommend(k=10, limits=limits)
        assert found["user_id"].equals(wanted["user_id"])
        pairs, others = (
            {(row["user_id"], row["item_id"]) for row in table.to_pylist()}
            for table in (wanted, found)
        )
        assert len(pairs & others) > 0.9 * len(pairs)
        apart = np.abs(wanted["score"].to_numpy() - found["score"].to_numpy())
        assert np.median(apart) < 0.05 * np.ptp(wanted["score"].to_numpy())


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "timm", "open_clip", "onnxscript"):
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
from p5mm.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_process_that_has_no_torch_recommends(by_torch, exported, tmp_path, agree):
    out = tmp_path / "out.parquet"
    given = ["recommend", exported, "--users", "all", "--k", "7", "--out", out]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *map(str, given)], capture_output=True)
    assert done.returncode == 0, done.stderr
    agree(by_torch.recommend(k=7), pq.read_table(out))


def test_the_runtime_is_told_by_the_folder_or_asked_for(whole, exported, tmp_path, agree):
    model = tmp_path / "model"
    Recommender(whole).save(model)
    assert isinstance(open_recommender(model), Recommender)
    assert isinstance(open_recommender(exported), PortableRecommender)
    assert isinstance(open_recommender(exported, "onnx"), PortableRecommender)
    for_the_occasion = open_recommender(model, "onnx")
    assert isinstance(for_the_occasion, PortableRecommender)
    agree(Recommender(whole).recommend(k=5), for_the_occasion.recommend(k=5))
    with pytest.raises(InputError, match="torch does not run"):
        open_recommender(exported, "torch")
    with pytest.raises(InputError, match="unknown runtime 'onxx'; did you mean 'onnx'"):
        open_recommender(model, "onxx")
