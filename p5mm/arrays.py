"""Arrays in safetensors files: written with errors that name the file, checked when read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.errors import InputError
from p5mm.files import writing
from p5mm.plain import reading

FLOATS = ("float32",)
SPARSE = ("data", "indices", "indptr")  # the arrays of a sparse matrix


@dataclass(frozen=True)
class Expected:
    """What an array must be; floats are always finite.

    Attributes:
        shape: Its length along each axis; None for any, but not none at all.
        dtypes: Names of the numpy types that it may have.
        low: Its least value; None for any.
        high: Its largest value; None for any.
    """

    shape: Sequence[int | None]
    dtypes: tuple[str, ...] = FLOATS
    low: float | None = None
    high: float | None = None

    def check(self, array: NDArray[Any], name: str) -> None:
        """Check an array.

        Raises:
            InputError: It is another array.
        """
        if array.dtype.name not in self.dtypes:
            raise InputError(f"{name} is of {array.dtype}; it must be {' or '.join(self.dtypes)}")
        check_shape(array.shape, self.shape, name)
        check_range(array, name, self.low, self.high)


def check_shape(shape: Sequence[int], wanted: Sequence[int | None], name: str) -> None:
    """Check a shape; None in ``wanted`` is any length from 1.

    Raises:
        InputError: It is another one.
    """
    fits = len(shape) == len(wanted) and all(
        (length > 0 if asked is None else length == asked)
        for length, asked in zip(shape, wanted, strict=True)
    )
    if not fits:
        told = ["any" if length is None else length for length in wanted]
        raise InputError(f"{name} has shape {list(shape)}; it must be {told}".replace("'", ""))


def check_range(
    array: NDArray[Any], name: str, low: float | None = None, high: float | None = None
) -> None:
    """Check that all values are finite numbers from ``low`` to ``high``.

    Raises:
        InputError: One is not.
    """
    if array.dtype == np.bool_ or not array.size:
        return
    least, most = float(array.min()), float(array.max())  # NaN if any value is
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError(f"{name} holds a value that is no finite number")
    if (low is not None and least < low) or (high is not None and most > high):
        raise InputError(f"{name} reaches from {least:g} to {most:g}; {low} to {high} are allowed")


def write_arrays(
    path: str | Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None = None
) -> None:
    """Write numpy arrays, or tensors of torch, as safetensors.

    Raises:
        OSError: The file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    plain = {name: np.asarray(_array(array), order="C") for name, array in arrays.items()}
    with writing(path, SafetensorError):
        save_file(plain, path, metadata=metadata)


def read_arrays(
    path: str | Path, expected: Mapping[str, Expected] | None, remedy: str
) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, checked.

    Args:
        path: The file.
        expected: What each must be, and no other may be there; None for any finite arrays.
        remedy: What to do where the file is wrong, for the message: "train again".

    Raises:
        InputError: There is no such file, it is damaged, or an array is missing or wrong.
    """
    from safetensors.numpy import load_file

    with reading(path, remedy):
        arrays: dict[str, NDArray[Any]] = load_file(path)
        if expected is None:
            for name, array in arrays.items():
                check_range(array, name)
            return arrays
        check_names(arrays, expected)
        for name, wanted in expected.items():
            wanted.check(arrays[name], name)
        return arrays


def read_array(path: str | Path, name: str, expected: Expected, remedy: str) -> NDArray[Any]:
    """One array of a safetensors file, checked; the others are not read.

    Raises:
        InputError: There is no such file, it is damaged, or the array is missing or wrong.
    """
    from safetensors import safe_open

    with reading(path, remedy), safe_open(path, "np") as file:
        if name not in file.keys():  # noqa: SIM118
            raise InputError(f"the array '{name}' is missing")
        array: NDArray[Any] = file.get_tensor(name)
        expected.check(array, name)
        return array


def read_shapes(path: str | Path, remedy: str) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a safetensors file, by its header alone.

    Raises:
        InputError: There is no such file, or it is damaged.
    """
    from safetensors import safe_open

    with reading(path, remedy), safe_open(path, "np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def check_names(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that arrays are there under the wanted names and no other.

    Raises:
        InputError: One is missing, or one too many.
    """
    for name in wanted:
        if name not in given:
            raise InputError(f"the array '{name}' is missing")
    for name in given:
        if name not in wanted:
            raise InputError(f"there is an unknown array '{name[:80]}'")


def square_csr(
    arrays: Mapping[str, NDArray[Any]],
    name: str,
    size: int,
    dtype: str = "float32",
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A square CSR of three arrays, in order, checked before scipy sees it.

    Args:
        arrays: From a file, ``NAME.data``, ``NAME.indices`` and ``NAME.indptr`` among them.
        name: Of the matrix.
        size: Rows and columns.
        dtype: Of its values.
        low: Their least; None for any.
        high: Their largest; None for any.

    Raises:
        InputError: They make no such matrix.
    """
    from scipy.sparse import csr_matrix

    whole = ("int32", "int64")
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in SPARSE)
    Expected((data.size,), (dtype,), low, high).check(data, f"{name}.data")
    Expected((data.size,), whole, 0, size - 1).check(indices, f"{name}.indices")
    Expected((size + 1,), whole, 0, data.size).check(indptr, f"{name}.indptr")
    if indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise InputError(f"{name}.indptr does not rise from 0 to the number of indices")
    matrix = csr_matrix((data, indices, indptr), shape=(size, size))
    matrix.sort_indices()
    return matrix


def _array(values: Any) -> NDArray[Any]:
    """An array as it is, or a tensor without its gradient."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.numpy(force=True))
