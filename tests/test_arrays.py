"""Arrays and values of a stranger's files, checked before anything is made of them."""

import json
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from p5mm.arrays import Expected, check_range, read_arrays, read_shapes, write_arrays
from p5mm.errors import InputError
from p5mm.plain import check_type, read_json, reading

GOOD = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_arrays_and_tensors_come_back(tmp_path):
    path = tmp_path / "x"
    arrays = {"a": GOOD.T, "b": torch.tensor(7.0), "c": torch.ones(2, requires_grad=True),
              "d": np.array([True])}  # fmt: skip
    write_arrays(path, arrays, {"format": "pt"})
    again = read_arrays(path, None, "again")
    np.testing.assert_array_equal(again["a"], GOOD.T)
    assert again["b"].shape == ()
    assert {name: array.dtype.name for name, array in again.items()} == {
        "a": "float32", "b": "float32", "c": "float32", "d": "bool"
    }  # fmt: skip
    assert read_shapes(path, "again") == {"a": (3, 2), "b": (), "c": (2,), "d": (1,)}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (GOOD.astype(np.float64), "x is of float64; it must be float32"),
        (GOOD.astype(np.int32), "x is of int32"),
        (GOOD[:, :2], r"x has shape \[2, 2\]; it must be \[any, 3\]"),
        (GOOD[0], r"x has shape \[3\]"),
        (GOOD[:0], r"x has shape \[0, 3\]"),
        (GOOD * np.nan, "x holds a value that is no finite number"),
        (GOOD + np.inf, "no finite number"),
        (np.where(GOOD == 5, np.nan, GOOD).astype(np.float32), "no finite number"),
        (GOOD - 1, "x reaches from -1 to 4; 0 to 5 are allowed"),
        (GOOD + 1, "x reaches from 1 to 6"),
    ],
)
def test_another_array_is_refused_with_the_name_of_its_file(tmp_path, array, message):
    save_file({"x": np.ascontiguousarray(array)}, tmp_path / "f")
    with pytest.raises(InputError, match=message) as told:
        read_arrays(tmp_path / "f", {"x": Expected((None, 3), low=0, high=5)}, "make it again")
    assert str(told.value).startswith(str(tmp_path / "f"))
    assert str(told.value).endswith("make it again")


def test_the_good_array_passes_and_others_beside_it_do_not(tmp_path):
    expected = {"x": Expected((None, 3), low=0, high=5)}
    save_file({"x": GOOD}, tmp_path / "f")
    np.testing.assert_array_equal(read_arrays(tmp_path / "f", expected, "")["x"], GOOD)
    for arrays, message in (({"x": GOOD, "y": GOOD}, "unknown array 'y'"), ({}, "'x' is missing")):
        save_file(arrays, tmp_path / "f")
        with pytest.raises(InputError, match=message):
            read_arrays(tmp_path / "f", expected, "")


def safetensors(header: object, body: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def tensor(dtype: str, shape: list[int], end: int) -> dict[str, Any]:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x80\x04.", safetensors(b"{}", size=2**63), safetensors(b'{"a":' * 100_000),
        safetensors(tensor("F32", [10**12], 4 * 10**12)),
        safetensors(tensor("Q9", [1], 4), b"1234"),
        safetensors(tensor("F32", [2**33, 2**33], 4), b"1234"),
        safetensors(tensor("F32", [-1], 4), b"1234"), safetensors(tensor("BF16", [1], 2), b"12"),
    ],
)  # fmt: skip
def test_broken_files_are_told(tmp_path, content):
    path = tmp_path / "f"
    for make in (lambda: path.write_bytes(content), path.unlink):
        make()
        with pytest.raises(InputError, match=str(path)):
            read_arrays(path, {"x": Expected((1,))}, "make it again")


def test_no_numbers_are_finite_and_so_are_booleans():
    check_range(np.zeros((0, 3)), "x", 1, 2)
    check_range(np.array([True]), "x")


@dataclass(frozen=True)
class Part:
    size: int
    names: tuple[str, ...]
    share: float = 0.5
    kind: Literal["a", "b"] = "a"
    near: int | None = None


PART = {"size": 1, "names": ["x"], "share": 1, "kind": "b", "near": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": "1"}, r"part\.size is '1'; it must be int"),
        ({"size": True}, r"part\.size is True"),
        ({"size": 1.0}, r"part\.size is 1\.0"),
        ({"size": 2**70}, r"part\.size is 1180"),
        ({"share": float("nan")}, r"part\.share is nan"),
        ({"share": float("inf")}, r"part\.share is inf"),
        ({"names": "x"}, r"part\.names is 'x'; it must be a list"),
        ({"names": [1]}, r"part\.names\[0\] is 1; it must be str"),
        ({"kind": "c"}, r"part\.kind is 'c'; it must be 'a' or 'b'"),
        ({"near": "x"}, r"part\.near is 'x'; it must be int or NoneType"),
        ({"odd": 1}, "part has the unknown key 'odd'"),
    ],
)
def test_values_of_another_type_are_refused(change, message):
    check_type(PART, Part, "part")
    with pytest.raises(InputError, match=message):
        check_type(PART | change, Part, "part")


def test_what_is_no_object_or_lacks_a_key():
    for value in ([], None, "x", 5):
        with pytest.raises(InputError, match="it must be an object"):
            check_type(value, Part, "part")
    with pytest.raises(InputError, match="part lacks 'size'"):
        check_type({k: v for k, v in PART.items() if k != "size"}, Part, "part")
    check_type({"a": [1.0, 2]}, dict[str, tuple[float, float]], "pairs")
    with pytest.raises(InputError, match=r"pairs\.a is \[1\.0\]; it must be a list of 2"):
        check_type({"a": [1.0]}, dict[str, tuple[float, float]], "pairs")


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"5", b"null", b'{"a": "\xff"}', b'{"a": ' + b"[" * 200_000, b"{" * 10,
     b"1" * 6000],
)  # fmt: skip
def test_json_that_is_no_object_is_told(tmp_path, content):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(InputError, match=r"f\.json.*; make it again"):
        read_json(tmp_path / "f.json", "make it again")
    with pytest.raises(InputError, match="nowhere is missing; make it again"):
        read_json(tmp_path / "nowhere", "make it again")


def test_errors_of_every_kind_name_the_file_once():
    for error, told in (
        (KeyError("x"), r"^f is damaged: 'x' \(KeyError\); again$"),
        (PermissionError(13, "Permission denied"), r"^f may not be read: permission denied; chmod"),
        (OSError(5, "Input/output error"), r"^f cannot be read: Input/output error; again$"),
        (FileNotFoundError(), r"^f is missing; again$"),
        (MemoryError(), r"^f does not fit into memory, or is damaged; again$"),
        (InputError("odd"), r"^f: odd; again$"),
    ):
        with pytest.raises(InputError, match=told), reading("f", "again"), reading("f", "again"):
            raise error


def test_a_file_that_may_not_be_read_is_not_missing(tmp_path):
    (tmp_path / "f").touch()
    with (
        pytest.raises(InputError, match="f may not be read: permission denied"),
        reading(tmp_path / "f", "again"),
    ):
        raise FileNotFoundError
