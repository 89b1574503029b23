"""Which faiss index for how many vectors, and how hard it must look to find them."""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError, unknown

KINDS = ("auto", "exact", "ivf", "hnsw", "ivf-fp16", "ivf-sq8")
CODINGS = {4: "Flat", 2: "SQfp16", 1: "SQ8"}  # by the bytes that a dimension takes
BUDGET = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kMGT])B")
EXACT_UP_TO = 1_000_000
RECALL_GOAL = 0.99
PRODUCT_FROM = 16  # queries
# The factory strings that are made and opened again: whole vectors or codes of them; all of them,
# in inverted lists or in a graph; the best of them scored anew.
CODES, SCALAR = r"(?:Flat|SQ\w{1,4}|PQ\d{1,4}(?:x\d{1,2})?)", r"(?:Flat|SQ\w{1,4})"
FACTORY = re.compile(
    rf"(?:IVF(?P<lists>\d{{1,9}}),(?:{CODES}|PQ\d{{1,4}}x4fs)|HNSW\d{{1,3}},{CODES}|{SCALAR})"
    rf"(?:,RFlat|,Refine\({SCALAR}\))?"
)


def import_faiss() -> Any:
    """The faiss module.

    Raises:
        InputError: It is not installed; the message is the pip line.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError('faiss is not installed; type: pip install "p5mm[cpu]"') from error
    return faiss


def choose_product(queries: int) -> None:
    """Has faiss compare vectors with so many queries by matrix products where that is faster.

    From some 16 queries on it is, at any dimension. Its own bound differs from version to version;
    that of 1.15 takes products from 128,000 numbers on, at a quarter of the speed (faiss#5109).
    """
    by_product = queries >= PRODUCT_FROM
    import_faiss().cvar.distance_compute_blas_threshold = 1 if by_product else 2**31 - 1


def largest_products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The ``k`` largest inner products of each query ``[q, k]``, best first, and their rows.

    Args:
        queries: ``[q, d]``.
        vectors: ``[n, d]``, at least ``k``.
        k: How many.
    """
    faiss = import_faiss()
    choose_product(len(queries))
    scores, rows = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def factory_string(kind: str, n: int, dim: int) -> str:
    """The faiss factory string of a kind for ``n`` vectors of ``dim`` dimensions.

    Exact to a million vectors; then inverted lists, about four times sqrt(n) of them (the faiss
    guidelines), and from 20 million on with 16 bits a dimension: product codes that are scored anew
    take more memory for the same recall, and find hard vectors later (benchmarks/RESULTS.md).

    A kind may be the memory that the index may take, such as 2GB: whole vectors where they fit,
    else 16 bits a dimension, else 8.

    Example:
        >>> factory_string("auto", 10_000, 64), factory_string("auto", 4_000_000, 64)
        ('Flat', 'IVF8192,Flat')
        >>> factory_string("600MB", 4_000_000, 64)
        'IVF8192,SQfp16'

    Raises:
        InputError: The kind is neither one of the names nor a factory string of faiss, or the
            memory is too small.
    """
    budget = budget_of(kind)
    if budget is not None:
        return _factory_within(budget, n, dim)
    if kind == "auto":
        kind = "exact" if n <= EXACT_UP_TO else "ivf" if n <= 20 * EXACT_UP_TO else "ivf-fp16"
    lists = _lists(n)
    strings = {
        "exact": "Flat",
        "ivf": f"IVF{lists},Flat",
        "hnsw": "HNSW32,Flat",
        "ivf-fp16": f"IVF{lists},SQfp16",
        "ivf-sq8": f"IVF{lists},SQ8",
    }
    if kind in strings:
        return strings[kind]
    return _checked_factory(kind, dim)


def budget_of(kind: str) -> float | None:
    """The bytes that a kind of index says, such as 2GB; None where it says none."""
    said = BUDGET.fullmatch(kind)
    return float(said[1]) * 1000 ** (1 + "kMGT".index(said[2])) if said else None


def part_of(kind: str, share: float, taken: int = 0) -> str:
    """The kind for a part of what an index holds: of a memory its share, else the same kind.

    Args:
        kind: Of the whole index.
        share: Of what is left of the memory, 0 to 1.
        taken: Bytes of the memory that others have.
    """
    budget = budget_of(kind)
    return kind if budget is None else f"{max(budget - taken, 0) * share / 1000:.6f}kB"


def check_kind(kind: str) -> None:
    """Check that a kind is a name, or a memory.

    Raises:
        InputError: It is neither.
    """
    if kind not in KINDS and not budget_of(kind):
        raise InputError(f"{unknown('index kind', kind[:80], KINDS)}, or a memory such as 2GB")


def _factory_within(budget: float, n: int, dim: int) -> str:
    """Of the kinds that a size asks for the first that fits into some bytes."""
    lists = 0 if n <= EXACT_UP_TO else _lists(n)
    for width, coding in CODINGS.items():
        needed = width * n * dim + (8 * n + 4 * lists * dim if lists else 0)
        if needed <= budget:
            return f"IVF{lists},{coding}" if lists else coding
    raise InputError(
        f"{n:,} vectors of {dim} dimensions take {needed / 1e6:,.3g} MB at 8 bits a dimension; "
        f"{budget / 1e6:,.3g} MB are allowed. Allow more, or let the size choose: auto"
    )


def _lists(n: int) -> int:
    # At least 39 training vectors a list, or faiss complains.
    return int(2 ** round(math.log2(max(1.0, min(4 * math.sqrt(n), n / 39)))))


def _checked_factory(string: str, dim: int) -> str:
    faiss, known = import_faiss(), FACTORY.fullmatch(string)
    try:
        if known is None:
            raise RuntimeError("not one of the forms that are opened again")
        faiss.index_factory(dim, string, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        message = unknown("index kind", string, KINDS)
        raise InputError(
            f"{message}, or a memory such as 2GB, or a faiss factory string such as IVF256,Flat "
            "or HNSW32,SQ8 or IVF1024,PQ16x4fs,Refine(SQ8)"
        ) from error
    return string


def tune(
    index: Any, vectors: NDArray[np.float32], queries: NDArray[np.float32] | None, seed: int
) -> float:
    """Raises an approximate index's search effort until recall@100 is .99; what it reached.

    The dial is nprobe (lists looked into) or efSearch (length of the graph's search queue),
    doubled from small to all, and then how many times the items asked for are scored anew; an
    index without a dial is only measured.
    """
    faiss = import_faiss()
    if queries is None:
        sample = np.random.default_rng(seed).permutation(len(vectors))[:256]
        queries = vectors[sample]
    k = min(100, len(vectors))
    _, truth = largest_products(queries, vectors, k)
    space, recall = faiss.ParameterSpace(), 0.0
    for setting in efforts(index, len(vectors)):
        if setting:
            space.set_index_parameters(index, setting)
        recall = overlap(index.search(queries, k)[1], truth)
        if recall >= RECALL_GOAL:
            break
    return recall


def efforts(index: Any, n: int) -> list[str]:
    """Settings of an index of ``n`` vectors by which it looks harder and harder."""
    faiss = import_faiss()
    refined = isinstance(index, faiss.IndexRefine)
    ivf = faiss.try_extract_index_ivf(getattr(index, "base_index", index))
    if ivf is not None:
        refine, last = "k_factor_rf=8," if refined else "", f"nprobe={ivf.nlist}"
        more = [f"k_factor_rf={factor},{last}" for factor in (16, 32, 64)] if refined else []
        return [f"{refine}nprobe={lists}" for lists in _doublings(1, ivf.nlist)] + more
    if isinstance(index, faiss.IndexHNSW):
        return [f"efSearch={v}" for v in _doublings(64, max(64, n))]
    return [""]


def _doublings(low: int, high: int) -> list[int]:
    return [low * 2**i for i in range(int(math.log2(high / low)) + 1)] + [high]


def overlap(rows: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """The share of the true rows ``[q, k]`` that was found ``[q, k]``."""
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(rows, truth, strict=True))
    return hits / truth.size
