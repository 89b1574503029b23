"""faiss's own files, from somebody else: checked before faiss opens them, and again after."""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import check_range
from p5mm.errors import InputError
from p5mm.files import writing
from p5mm.retrieval.tuning import FACTORY, import_faiss

REMEDY = "build it again"
ON_DISK = b"ilod"  # faiss's mark of inverted lists that lie in another file, which it would open
FLAT, FLAT_HEADER = b"IxFI", 45
# What two indexes of one factory string and dimension have alike, whatever they hold.
ALIKE = (
    "d", "metric_type", "metric_arg", "code_size", "nlist", "by_residual", "parallel_mode", "bbs",
    "M", "M2", "nbits", "ksub", "implem", "skip", "qbs", "qbs2", "max_codes", "n_per_block",
    "block_size",
)  # fmt: skip
PARTS = ("base_index", "refine_index", "quantizer", "storage")
MOST_REFINED, SEARCHED = 100, 64


def write_faiss(index: Any, path: Path) -> None:
    """Write an index in faiss's own form.

    Raises:
        OSError: It cannot be written.
    """
    with writing(path, RuntimeError):
        import_faiss().write_index(index, str(path))


def read_faiss(path: Path, factory: str, items: int, dim: int) -> Any:
    """The index in a file, which must be what a factory string makes and hold so many items.

    Raises:
        InputError: It is something else, is damaged, or would have faiss open another file.
    """
    faiss = import_faiss()
    check_size(path, factory, items, dim)
    if factory != "Flat":
        _refuse_other_files(path)
    with _no_more_memory_than(path.stat().st_size):
        index = faiss.read_index(str(path))
    made = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    _check_alike(index, made, "the index")
    _check_index(index, items)
    return index


def check_size(path: Path, factory: str, items: int, dim: int) -> None:
    """See that a file can be an index by its size; an exact one has one size.

    Raises:
        InputError: It cannot.
    """
    size = path.stat().st_size
    known = FACTORY.fullmatch(factory)
    lists = int(known["lists"] or 1) if known else 0
    # Whatever the coding, a dimension takes two bytes: of one item, or of what codes are read by.
    if known is None or not 1 <= dim <= size // 2 or not 1 <= lists <= items:
        raise InputError(f"'{factory[:80]}' of {items} items and {dim} dimensions is no index")
    if factory == "Flat":
        with path.open("rb") as file:
            if file.read(4) != FLAT or size != FLAT_HEADER + 4 * items * dim:
                raise InputError(f"it is no exact index of {items} items and {dim} dimensions")


def _refuse_other_files(path: Path) -> None:
    """Refuse an index for which faiss would open another file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = data.find(ON_DISK)
        while place >= 0:
            if _is_on_disk_list(data, place):
                raise InputError("its lists lie in another file, which is not opened")
            place = data.find(ON_DISK, place + 1)


def _is_on_disk_list(data: mmap.mmap, place: int) -> bool:
    """Whether it is lists that faiss could read, and not these four bytes by chance."""
    header = data[place + 4 : place + 28]  # lists, bytes a code, numbers that follow
    return len(header) == 24 and struct.unpack("<3Q", header)[2] <= len(data)


@contextmanager
def _no_more_memory_than(size: int) -> Iterator[None]:
    """No vector that faiss reads is longer than the file that it is in."""
    faiss = import_faiss()
    if not hasattr(faiss, "set_deserialization_vector_byte_limit"):  # faiss before 1.13
        yield
        return
    before = faiss.get_deserialization_vector_byte_limit()
    # Lists of codes are padded to whole blocks.
    faiss.set_deserialization_vector_byte_limit(64 * size + 2**20)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def _check_alike(index: Any, made: Any, name: str) -> None:
    """Check that an index is built as another, in all its parts."""
    if _kind(index) != _kind(made):
        raise InputError(f"{name} is {_kind(index)}, not {_kind(made)}")
    for key in ALIKE:
        given, wanted = getattr(index, key, None), getattr(made, key, None)
        if isinstance(wanted, int | float) and given != wanted:
            raise InputError(f"{name} has {key} {given}, not {wanted}")
    downcast = import_faiss().downcast_index  # gives no new index: the whole must be kept
    for part in PARTS:
        if getattr(made, part, None) is not None:
            if getattr(index, part, None) is None:
                raise InputError(f"{name} has no {part}")
            _check_alike(downcast(getattr(index, part)), downcast(getattr(made, part)), part)


def _kind(index: Any) -> str:
    name = type(index).__name__
    # faiss makes some as a special case, and reads them as the general one.
    return {"IndexFlatIP": "IndexFlat", "IndexRefineFlat": "IndexRefine"}.get(name, name)


def _check_index(index: Any, items: int) -> None:
    """Check that every number in an index is one that faiss may follow."""
    faiss = import_faiss()
    if index.ntotal != items or not index.is_trained:
        raise InputError(f"it holds {index.ntotal} items, not {items}")
    if hasattr(index, "codes") and not hasattr(index, "invlists"):
        _check_codes(index)
    if isinstance(index, faiss.IndexRefine):
        if not 1 <= index.k_factor <= MOST_REFINED:
            raise InputError(f"k_factor is {index.k_factor}; 1 to {MOST_REFINED} are allowed")
        _check_index(faiss.downcast_index(index.base_index), items)
        _check_index(faiss.downcast_index(index.refine_index), items)
    elif isinstance(index, faiss.IndexIVF):
        _check_lists(index)
        _check_index(faiss.downcast_index(index.quantizer), index.nlist)
    elif isinstance(index, faiss.IndexHNSW):
        _check_graph(index.hnsw, items)
        _check_index(faiss.downcast_index(index.storage), items)
    _check_quantizers(index)


def _check_codes(index: Any) -> None:
    faiss = import_faiss()
    size = index.ntotal * index.code_size
    if isinstance(index, faiss.IndexFastScan):  # in whole blocks
        size = -(-index.ntotal // index.bbs) * index.bbs * index.M2 // 2
    if index.codes.size() != size:
        raise InputError(f"{index.ntotal} items have {index.codes.size()} bytes of codes")
    if isinstance(index, faiss.IndexFlat):
        vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        check_range(vectors, "the vectors")


def _check_quantizers(index: Any) -> None:
    """The tables that codes are looked up in."""
    quantizer, product = getattr(index, "sq", None), getattr(index, "pq", None)
    if product is not None:
        _check_values(product.centroids, product.d * product.ksub, "the centroids")
        if product.d != index.d or product.M * product.dsub != product.d:
            raise InputError(f"centroids of {product.d} dimensions for vectors of {index.d}")
    if quantizer is not None:
        trained = quantizer.trained.size()
        if quantizer.d != index.d or trained not in (0, 2, 2 * index.d):
            raise InputError(f"a scalar quantizer of {quantizer.d} dimensions and {trained} values")
        _check_values(quantizer.trained, trained, "the scalar quantizer")


def _check_values(values: Any, count: int, name: str) -> None:
    array = import_faiss().vector_to_array(values)
    if len(array) != count:
        raise InputError(f"{name} are {len(array)} values, not {count}")
    check_range(array, name)


def _check_lists(index: Any) -> None:
    """Every row is in one of the inverted lists, once."""
    faiss = import_faiss()
    lists = faiss.downcast_InvertedLists(index.invlists)
    sizes = [lists.list_size(number) for number in range(index.nlist)]
    if sum(sizes) != index.ntotal or index.direct_map.type != faiss.DirectMap.NoMap:
        raise InputError(f"its lists hold {sum(sizes)} items, not {index.ntotal}")
    rows = [
        faiss.rev_swig_ptr(lists.get_ids(number), size).copy()
        for number, size in enumerate(sizes)
        if size
    ]
    if not _is_permutation(np.concatenate(rows), index.ntotal):
        raise InputError("its lists do not hold every item once")
    if not 1 <= index.nprobe <= index.nlist:
        raise InputError(f"nprobe is {index.nprobe}; 1 to {index.nlist} are allowed")


def _is_permutation(rows: NDArray[np.int64], count: int) -> bool:
    return bool(np.array_equal(np.sort(rows), np.arange(count)))


def _check_graph(graph: Any, items: int) -> None:
    """Every neighbour of the graph is an item, and every item has its place."""
    faiss = import_faiss()
    levels, offsets, neighbours, widths = (
        faiss.vector_to_array(getattr(graph, name)).astype(np.int64)
        for name in ("levels", "offsets", "neighbors", "cum_nneighbor_per_level")
    )
    check_range(levels, "the levels", 1, len(widths) - 1)
    check_range(neighbours, "the neighbours", -1, items - 1)
    check_range(np.diff(widths), "the numbers of neighbours", 0, len(neighbours))
    fits = (
        len(levels) == items
        and len(offsets) == items + 1
        and offsets[0] == 0
        and np.array_equal(np.diff(offsets), widths[levels])
        and offsets[-1] == len(neighbours)
        and 0 <= graph.entry_point < items
        and graph.max_level == levels[graph.entry_point] - 1 == levels.max() - 1
    )
    if not fits:
        raise InputError("its graph does not fit its items")
    if not 1 <= graph.efSearch <= max(SEARCHED, items):
        raise InputError(f"efSearch is {graph.efSearch}; 1 to {max(SEARCHED, items)} are allowed")
