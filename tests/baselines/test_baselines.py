"""Each baseline finds what is to be found, row by row, and comes back from disk the same."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from p5mm.baselines.base import (
    Baseline,
    baselines,
    fit_key,
    fit_once,
    load_baseline,
    save_baseline,
)
from p5mm.data.histories import Histories
from p5mm.data.split import LeaveOneOut
from p5mm.errors import InputError
from p5mm.metrics.ranker import Ranker
from p5mm.metrics.validation import validation_ndcg

USERS, ITEMS = 120, 40
SETTINGS = {
    "popularity": {},
    "item-knn": {},
    "bpr": {"factors": (16,), "iterations": (150,)},
    "sasrec": {"dim": 16, "max_len": 8, "dropout": 0.1, "tokens": 128, "epochs": 15, "patience": 4},
}
LEARNERS = ["item-knn", "bpr", "sasrec"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These networks are so small that more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkerboard() -> LeaveOneOut:
    """Even users take even items, odd users odd items, each a run around the ring of its colour.

    The withheld item is the next one of the ring, so it is known; all items are equally popular.
    """
    ring = ITEMS // 2
    starts = np.random.default_rng(0).permutation(np.arange(USERS) // 2 % ring)
    return LeaveOneOut(
        Histories.from_lists(
            [
                [(start + j) % ring * 2 + user % 2 for j in range(9)]
                for user, start in enumerate(starts)
            ]
        )
    )


@pytest.fixture(scope="module")
def fitted(checkerboard: LeaveOneOut) -> dict[str, Baseline]:
    models = {name: baselines.get(name)(**SETTINGS[name]) for name in SETTINGS}
    for model in models.values():
        model.fit(checkerboard, ITEMS)
    return models


def test_registry_knows_every_baseline() -> None:
    assert set(SETTINGS) == set(baselines.names())
    with pytest.raises(InputError, match="did you mean 'sasrec'"):
        baselines.get("sasrek")


@pytest.mark.parametrize("name", SETTINGS)
def test_protocol(name: str, fitted: dict[str, Baseline]) -> None:
    assert isinstance(fitted[name], Ranker)
    scores = fitted[name].scores(Histories.from_lists([[0, 2], [1]]))
    assert scores.shape == (2, ITEMS)
    assert scores.dtype == np.float32


@pytest.mark.parametrize("name", LEARNERS)
def test_finds_the_known_answer(
    name: str, fitted: dict[str, Baseline], checkerboard: LeaveOneOut
) -> None:
    cases = checkerboard.cases("test")
    popularity = validation_ndcg(fitted["popularity"], cases)
    assert validation_ndcg(fitted[name], cases) > max(2 * popularity, 0.4)


def test_sequence_model_knows_the_order(
    fitted: dict[str, Baseline], checkerboard: LeaveOneOut
) -> None:
    assert validation_ndcg(fitted["sasrec"], checkerboard.cases("test")) > 0.9


@pytest.mark.parametrize("name", SETTINGS)
def test_a_batch_equals_single_histories(name: str, fitted: dict[str, Baseline]) -> None:
    lists = [[0, 2, 4], [1], [3, 5, 7, 9, 11, 13, 15, 17, 19, 21], []]
    together = fitted[name].scores(Histories.from_lists(lists))
    single = [fitted[name].scores(Histories.from_lists([history]))[0] for history in lists]
    np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_saved_and_loaded_is_the_same(name: str, fitted: dict[str, Baseline], tmp_path) -> None:
    histories = Histories.from_lists([[0, 2, 4], [1, 3]])
    save_baseline(fitted[name], tmp_path / "model.safetensors", "key")
    fresh = baselines.get(name)(**SETTINGS[name])
    assert not load_baseline(fresh, tmp_path / "model.safetensors", "another key")
    assert load_baseline(fresh, tmp_path / "model.safetensors", "key")
    np.testing.assert_array_equal(fresh.scores(histories), fitted[name].scores(histories))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_seed_fixes_the_result(name: str, checkerboard: LeaveOneOut) -> None:
    quick = {"sasrec": {"epochs": 2}, "bpr": {"iterations": (3,)}}.get(name, {})
    histories = checkerboard.cases("test").histories
    scores = []
    for _ in range(2):
        model = baselines.get(name)(**(SETTINGS[name] | quick))
        model.fit(checkerboard, ITEMS)
        scores.append(model.scores(histories))
    np.testing.assert_array_equal(scores[0], scores[1])


def test_key_follows_log_and_settings(checkerboard: LeaveOneOut) -> None:
    make = baselines.get("item-knn")
    other = LeaveOneOut(Histories(checkerboard.log.items[::-1].copy(), checkerboard.log.offsets))
    key = fit_key(make(), checkerboard, ITEMS)
    assert key == fit_key(make(), checkerboard, ITEMS)
    assert key != fit_key(make(neighbours=5), checkerboard, ITEMS)
    assert key != fit_key(make(), checkerboard, ITEMS + 1)
    assert key != fit_key(make(), other, ITEMS)


def test_a_broken_file_is_not_a_cache(fitted: dict[str, Baseline], tmp_path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not safetensors")
    assert not load_baseline(baselines.get("popularity")(), tmp_path / "broken.safetensors")
    assert not load_baseline(baselines.get("popularity")(), tmp_path / "absent.safetensors")


SPOILT = {
    "popularity": {"counts": np.zeros((2, 2), np.float32)},
    "bpr": {"bias": np.zeros(3, np.float32)},
    "sasrec": {"items.weight": np.zeros(3, np.float32)},
    "item-knn": {"indices": np.full(1, 10**9, np.int32), "data": np.ones(1, np.float32)},
}


@pytest.mark.parametrize("name", SPOILT)
def test_arrays_of_a_stranger_that_do_not_fit_are_no_cache(name, fitted, tmp_path) -> None:
    """Whoever gives away a model's folder can also forge the key."""
    path = tmp_path / "model.safetensors"
    arrays = {k: np.ascontiguousarray(v) for k, v in fitted[name].arrays().items()}
    if name == "item-knn":
        arrays["indptr"] = np.array([0, *[1] * (len(arrays["indptr"]) - 1)], np.int32)
    save_file(arrays | SPOILT[name], path, metadata={"key": "key"})
    assert not load_baseline(baselines.get(name)(**SETTINGS[name]), path, "key")
    del arrays[next(iter(SPOILT[name]))]
    save_file(arrays, path, metadata={"key": "key"})
    assert not load_baseline(baselines.get(name)(**SETTINGS[name]), path, "key")


def test_a_cache_of_another_catalog_is_fitted_anew(checkerboard: LeaveOneOut, tmp_path) -> None:
    model, path = baselines.get("popularity")(), tmp_path / "popularity.safetensors"
    model.counts = np.ones(3, np.float32)
    save_baseline(model, path, fit_key(model, checkerboard, ITEMS))
    fit_once(model, checkerboard, ITEMS, path)
    assert model.n_items() == len(model.counts) == ITEMS


@pytest.mark.parametrize("name", SETTINGS)
def test_a_fitted_baseline_knows_its_catalog(name: str, fitted: dict[str, Baseline]) -> None:
    assert fitted[name].n_items() == ITEMS
