"""A network in ONNX, from somebody else: checked before onnxruntime sees it, and then run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p5mm.arrays import check_range, check_shape
from p5mm.errors import InputError
from p5mm.plain import reading
from p5mm.portable.packages import package

REMEDY = "export the model again"
FLOAT, INT64 = "tensor(float)", "tensor(int64)"
# What torch's exporter and the quantisation make of our networks: arithmetic on tensors, without
# loops, functions, or operators of other domains.
OPERATORS = {
    "Abs", "Add", "And", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Div",
    "DynamicQuantizeLinear", "Equal", "Erf", "Exp", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less",
    "LessOrEqual", "Log", "MatMul", "MatMulInteger", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pad",
    "Pow", "Range", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
    "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub",
    "Tanh", "Transpose", "Trilu", "Unsqueeze", "Where",
}  # fmt: skip
Inputs = Mapping[str, tuple[str, Sequence[int | None]]]


class Graph:
    """A network that onnxruntime runs on the CPU.

    Args:
        path: Of the file.
        inputs: Type and shape of each; None for a length that may be any.
        output: Shape of what it gives; lengths are names of the inputs' or numbers.

    Raises:
        InputError: The file is damaged, is another network, or does what ours do not.
    """

    def __init__(self, path: Path, inputs: Inputs, output: int) -> None:
        runtime, self._path, self._rank = package("onnxruntime"), path, output
        with reading(path, REMEDY):
            data = path.read_bytes()
            check_graph(data)
            self._session = runtime.InferenceSession(
                data, _options(runtime), providers=["CPUExecutionProvider"]
            )
            given = {i.name: (i.type, i.shape) for i in self._session.get_inputs()}
            if set(given) != set(inputs) or len(self._session.get_outputs()) != 1:
                raise InputError(f"it reads {sorted(given)[:9]}, and must read {sorted(inputs)}")
            for name, (kind, shape) in inputs.items():
                if given[name][0] != kind:
                    raise InputError(f"{name} is {given[name][0]}, and must be {kind}")
                sizes = [size if isinstance(size, int) else 1 for size in given[name][1]]
                check_shape(sizes, shape, name)

    def __call__(self, **feeds: NDArray[Any]) -> NDArray[np.float32]:
        """What the network gives, finite numbers; a line an entry of the first input.

        Raises:
            InputError: It fails, or gives something else.
        """
        with reading(self._path, REMEDY):
            found: NDArray[np.float32] = self._session.run(None, feeds)[0]
            lines = len(next(iter(feeds.values())))
            if found.dtype != np.float32 or found.ndim != self._rank or len(found) != lines:
                raise InputError(f"it gives {found.dtype} of shape {list(found.shape)}")
            check_range(found, "what it gives")
        return found


def check_graph(data: bytes) -> None:
    """Check that a network is arithmetic alone, and that all its numbers are in the file.

    Raises:
        InputError: It names another file, or an operator that is none of ``OPERATORS``.
    """
    onnx = package("onnx")
    model = onnx.ModelProto.FromString(data)
    if model.functions or not model.graph.node:
        raise InputError("it has functions of its own, or no operator at all")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise InputError(f"it has the operator '{f'{node.domain}:{node.op_type}'[:80]}'")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise InputError("its numbers lie in another file, which is not opened")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    if graph.sparse_initializer:
        raise InputError("it has sparse numbers")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor"):
                raise InputError(f"the operator {node.op_type} holds another network")
            yield from [attribute.t] if attribute.HasField("t") else []
            yield from attribute.tensors


def _options(runtime: Any) -> Any:
    """As many threads as torch and faiss take, which sleep while they wait as theirs do."""
    options = runtime.SessionOptions()
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors come as exceptions
    return options
