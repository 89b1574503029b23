"""A network from a stranger is arithmetic on tensors, with all its numbers in the file."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from p5mm.errors import InputError
from p5mm.portable.graph import FLOAT, INT64, Graph

INPUTS = {"x": (FLOAT, (None, 2))}


def written(path, nodes, initial=(), inputs=("b", 2), kind=TensorProto.FLOAT, outputs=1):
    given = [helper.make_tensor_value_info("x", kind, inputs)]
    made = [helper.make_tensor_value_info(f"y{n or ''}", kind, None) for n in range(outputs)]
    graph = helper.make_graph(nodes, "graph", given, made, list(initial))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def doubled(path, factor=2.0):
    two = numpy_helper.from_array(np.array(factor, np.float32), "two")
    return written(path, [helper.make_node("Mul", ["x", "two"], ["y"])], [two])


def test_it_runs(tmp_path):
    graph = Graph(doubled(tmp_path / "g.onnx"), INPUTS, 2)
    np.testing.assert_array_equal(graph(x=np.ones((3, 2), np.float32)), np.full((3, 2), 2))


def refused(path, message, inputs=INPUTS):
    with pytest.raises(InputError, match=message) as raised:
        Graph(path, inputs, 2)
    assert str(path) in str(raised.value)


def test_what_is_no_arithmetic_is_refused(tmp_path):
    path = tmp_path / "g.onnx"
    body = helper.make_graph([], "body", [], [])
    loop = helper.make_node("Loop", ["", ""], ["y"], body=body)
    refused(written(path, [loop]), "the operator ':Loop'")
    strange = helper.make_node("Mul", ["x", "x"], ["y"], domain="com.stranger")
    refused(written(path, [strange]), "com.stranger:Mul")
    hidden = helper.make_node("Relu", ["x"], ["y"], body=body)
    refused(written(path, [hidden]), "holds another network")
    refused(written(path, []), "no operator")


def test_numbers_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(np.ones(2, np.float32).tobytes())
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="secret")
    add = helper.make_node("Add", ["x", "w"], ["y"])
    refused(written(tmp_path / "g.onnx", [add], [outside]), "another file")
    constant = helper.make_node("Constant", [], ["w"], value=outside)
    refused(written(tmp_path / "g.onnx", [constant, add]), "another file")


def test_another_network_is_refused(tmp_path):
    path = doubled(tmp_path / "g.onnx")
    refused(path, "must read", {"z": (FLOAT, (None, 2))})
    refused(path, "must be tensor.int64", {"x": (INT64, (None, 2))})
    refused(path, "must be .any, 3", {"x": (FLOAT, (None, 3))})
    refused(path, "must be .any, any, 2", {"x": (FLOAT, (None, None, 2))})
    both = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y1"])]
    refused(written(path, both, outputs=2), "must read")


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_file_cut_off_is_refused(tmp_path, kept):
    path = doubled(tmp_path / "g.onnx")
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "export the model again")
    path.unlink()
    refused(path, "is missing")


def test_what_it_gives_is_checked(tmp_path):
    x = np.ones((3, 2), np.float32)
    infinite = Graph(doubled(tmp_path / "g.onnx", np.inf), INPUTS, 2)
    with pytest.raises(InputError, match="no finite number"):
        infinite(x=x)
    turned = helper.make_node("Transpose", ["x"], ["y"])
    other = Graph(written(tmp_path / "t.onnx", [turned]), INPUTS, 2)
    with pytest.raises(InputError, match="it gives float32 of shape"):
        other(x=x)
    far = numpy_helper.from_array(np.array([7], np.int64), "far")
    beyond = helper.make_node("Gather", ["x", "far"], ["y"], axis=0)
    fails = Graph(written(tmp_path / "f.onnx", [beyond], [far]), INPUTS, 2)
    with pytest.raises(InputError, match=r"f\.onnx"):
        fails(x=x)


def test_our_networks_are_arithmetic(exported, in_bytes):
    for folder in (exported, in_bytes):
        for file in folder.glob("*.onnx"):
            model = onnx.load(file)
            assert not any(tensor.external_data for tensor in model.graph.initializer)
            integers = {"MatMulInteger"} & {node.op_type for node in model.graph.node}
            assert bool(integers) == (folder is in_bytes)
