"""Vector indexes from a stranger: a message that names the file, and nothing else is opened."""

import json
import struct

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from p5mm.errors import InputError
from p5mm.retrieval.index import VectorIndex, check_files
from p5mm.retrieval.tuning import KINDS

N, D = 400, 8
REFINED = "IVF2,PQ4x4fs,Refine(SQ8)"
VECTORS = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


def made(folder, kind="exact"):
    VectorIndex.build([f"i{row}" for row in range(N)], VECTORS, kind).save(folder)
    return folder


def put(folder, index):
    faiss.write_index(index, str(folder / "index.faiss"))


def say(folder, **changes):
    about = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(about | changes))


def refused(folder, file, message=None):
    with pytest.raises(InputError, match=message) as told:
        VectorIndex.load(folder)
    assert str(folder / file) in str(told.value)


def factory(string, metric=faiss.METRIC_INNER_PRODUCT, n=N, d=D):
    index = faiss.index_factory(d, string, metric)
    vectors = np.resize(VECTORS, (n, d))
    index.train(vectors)
    index.add(vectors)
    return index


def id_map(ids):
    index = faiss.IndexIDMap(faiss.IndexFlatIP(D))
    index.add_with_ids(VECTORS, np.asarray(ids, dtype=np.int64))
    return index


@pytest.mark.parametrize("kind", [*KINDS, "SQfp16", "SQ8"])
def test_one_item_of_many_dimensions_is_read_again(tmp_path, kind):
    one = np.random.default_rng(0).normal(size=(1, 512)).astype(np.float32)
    VectorIndex.build(["a"], one, kind).save(tmp_path)
    check_files(tmp_path)
    assert VectorIndex.load(tmp_path).search(one, 1)[0] == [["a"]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: factory("Flat", faiss.METRIC_L2), lambda: factory("Flat", n=N - 1),
        lambda: factory("Flat", d=D - 1), lambda: factory("IVF4,Flat"),
        lambda: factory("HNSW8,Flat"), lambda: factory("PCA4,Flat"),
        lambda: id_map(np.arange(N) + 10**9), lambda: id_map(-5 - np.arange(N)),
    ],
)  # fmt: skip
def test_an_exact_index_is_nothing_else(tmp_path, make):
    put(made(tmp_path), make())
    refused(tmp_path, "index.faiss", "no exact index of 400 items and 8 dimensions")


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw", "ivf-fp16", "SQ8", REFINED])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_file_that_is_cut_off(tmp_path, kind, share):
    file = made(tmp_path, kind) / "index.faiss"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path, "index.faiss")
    file.unlink()
    refused(tmp_path, "index.faiss", "missing")


def test_vectors_that_are_no_numbers(tmp_path):
    index = factory("Flat")
    faiss.rev_swig_ptr(index.get_xb(), N * D)[77] = np.nan
    put(made(tmp_path), index)
    refused(tmp_path, "index.faiss", "no finite number")


@pytest.mark.parametrize("factory_said", ["Flat", "IVF2,Flat", "IVF2,SQ8"])
def test_lists_in_another_file_are_not_opened(tmp_path, factory_said):
    index, victim = factory("IVF2,Flat"), tmp_path / "victim"
    lists = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(victim))
    lists.merge_from_1(index.invlists)
    index.replace_invlists(lists, False)
    folder = made(tmp_path / "x")
    put(folder, index)
    victim.unlink()  # faiss itself would tell that it cannot open it
    say(folder, factory=factory_said)
    wanted = "no exact index" if factory_said == "Flat" else "lie in another file"
    refused(folder, "index.faiss", wanted)


def test_four_letters_by_chance_are_no_lists(tmp_path):
    vectors = VECTORS.copy()
    vectors[3, :2] = np.frombuffer(b"ilod\xff\xff\xff\x3e", np.float32)
    VectorIndex.build([f"i{row}" for row in range(N)], vectors, "IVF2,Flat").save(tmp_path)
    assert b"ilod" in (tmp_path / "index.faiss").read_bytes()
    assert len(VectorIndex.load(tmp_path)) == N


@pytest.mark.parametrize("said", ["IVF3,Flat", "IVF2,SQ8", "HNSW32,Flat", "IVF2,Flat,RFlat"])
def test_an_index_is_what_its_factory_string_says(tmp_path, said):
    say(made(tmp_path, "IVF2,Flat"), factory=said)
    refused(tmp_path, "index.faiss")


@pytest.mark.parametrize(
    "changes",
    [
        {"factory": "OPQ4,IVF2,Flat"}, {"factory": "IVF999999999,Flat"}, {"factory": "x" * 10**5},
        {"factory": "IVF401,Flat"}, {"dim": 10**15}, {"dim": 0}, {"dim": -1}, {"items": 10**12},
        {"items": N - 1}, {"items": 0},
    ],
)  # fmt: skip
def test_sizes_that_the_file_does_not_have(tmp_path, changes):
    say(made(tmp_path, "IVF2,Flat"), **changes)
    refused(tmp_path, "index.faiss")


@pytest.mark.parametrize(
    "changes",
    [
        {"items": "400"}, {"dim": 8.5}, {"factory": None}, {"recall@100": None},
        {"recall@100": 1.5}, {"recall@100": float("nan")}, {"format": 2},
    ],
)  # fmt: skip
def test_words_of_another_type(tmp_path, changes):
    say(made(tmp_path), **changes)
    refused(tmp_path, "index.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"\x80\x04.", b"[" * 200_000, b'{"a": "\xff"}'])
def test_index_json_that_is_none(tmp_path, content):
    (made(tmp_path) / "index.json").write_bytes(content)
    refused(tmp_path, "index.json")


def ids(values, kind=None):
    return pa.table({"item_id": pa.array(values, kind or pa.string())})


@pytest.mark.parametrize(
    "table",
    [
        ids([f"i{row}" for row in range(N - 1)]), ids(["same"] * N), ids([None] * N),
        ids(range(N), pa.int64()), ids([[f"i{row}"] for row in range(N)], pa.list_(pa.string())),
        pa.table({"id": [f"i{row}" for row in range(N)]}),
        pa.table({"item_id": [f"i{row}" for row in range(N)], "more": [1] * N}),
        ids([f"i{row}".encode() + b"\xff" for row in range(N)], pa.binary()).cast(
            pa.schema([("item_id", pa.large_binary())])
        ),
    ],
)  # fmt: skip
def test_ids_that_are_none(tmp_path, table):
    pq.write_table(table, made(tmp_path) / "ids.parquet")
    refused(tmp_path, "ids.parquet")


def test_bad_utf8_among_the_ids(tmp_path):
    odd = pa.array([b"\xff\xfe%d" % row for row in range(N)], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"item_id": odd}), made(tmp_path) / "ids.parquet")
    refused(tmp_path, "ids.parquet")


def test_ivf_ids_that_lead_elsewhere(tmp_path):
    index = faiss.index_factory(D, "IVF2,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(VECTORS)
    for odd in (np.arange(N) + 10**12, np.zeros(N), -1 - np.arange(N)):
        index.reset()
        index.add_with_ids(VECTORS, odd.astype(np.int64))
        put(made(tmp_path, "IVF2,Flat"), index)
        refused(tmp_path, "index.faiss", "every item once")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: setattr(i, "nprobe", 10**9), "nprobe"),
        (lambda i: setattr(i, "nprobe", 0), "nprobe"),
        (lambda i: i.set_direct_map_type(faiss.DirectMap.Array), "lists"),
    ],
)
def test_ivf_dials_are_bounded(tmp_path, change, message):
    index = factory("IVF2,Flat")
    change(index)
    put(made(tmp_path, "IVF2,Flat"), index)
    refused(tmp_path, "index.faiss", message)


@pytest.mark.parametrize("number", [2**30, -7, N])
def test_graphs_that_lead_elsewhere(tmp_path, number):
    index = factory("HNSW8,Flat")
    neighbours = faiss.vector_to_array(index.hnsw.neighbors)
    neighbours[neighbours >= 0] = number
    faiss.copy_array_to_vector(neighbours, index.hnsw.neighbors)
    put(made(tmp_path, "HNSW8,Flat"), index)
    refused(tmp_path, "index.faiss")


@pytest.mark.parametrize(
    "change",
    [
        lambda h: setattr(h, "efSearch", 10**9), lambda h: setattr(h, "efSearch", 0),
        lambda h: setattr(h, "entry_point", N), lambda h: setattr(h, "max_level", 30),
        lambda h: faiss.copy_array_to_vector(
            faiss.vector_to_array(h.offsets)[::-1].copy(), h.offsets
        ),
        lambda h: faiss.copy_array_to_vector(np.full(N, 9, np.int32), h.levels),
    ],
)  # fmt: skip
def test_graphs_that_do_not_fit(tmp_path, change):
    index = factory("HNSW8,Flat")
    change(index.hnsw)
    put(made(tmp_path, "HNSW8,Flat"), index)
    refused(tmp_path, "index.faiss")


def test_a_list_longer_than_the_file(tmp_path):
    file = made(tmp_path, "IVF2,Flat") / "index.faiss"
    content = bytearray(file.read_bytes())
    struct.pack_into("<Q", content, content.find(b"full") + 12, 10**10)
    file.write_bytes(content)
    refused(tmp_path, "index.faiss")


def test_refined_scores_are_bounded(tmp_path):
    folder = made(tmp_path, REFINED)
    index = faiss.read_index(str(folder / "index.faiss"))
    for factor in (1e9, 0.0, float("nan")):
        index.k_factor = factor
        put(folder, index)
        refused(folder, "index.faiss", "k_factor")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw", "ivf-fp16", REFINED])
def test_any_bytes_are_refused_or_searched(tmp_path, kind, seed):
    file, luck = made(tmp_path, kind) / "index.faiss", np.random.default_rng(seed)
    whole = file.read_bytes()
    for _ in range(20):
        content = bytearray(whole)
        place = int(luck.integers(luck.choice([100, 1000, len(content)])))
        content[place : place + 4] = luck.bytes(4)
        file.write_bytes(content)
        try:
            index = VectorIndex.load(tmp_path)
        except InputError:
            continue
        assert index.rows(VECTORS[:5], 10).max() < N
