"""Networks from ONNX files: against onnxruntime in float, and what a hostile file can say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.onnx_files import CONV, WEIGHTS, after, graph_of, random, reference, whole, write

from bfp.errors import BfpError
from calib.frontend.importer import import_module
from calib.frontend.onnx.network import onnx_module
from calib.frontend.onnx.reader import read_onnx
from calib.network.float_model import returned

onnx = pytest.importorskip("onnx")
FORMS = {
    "relu": after(("Relu", (), {})),
    "batch norm": after(("BatchNormalization", ("s", "o", "m", "v"), {"epsilon": 1e-3}), ("Relu", (), {}),
                        s=random(4), o=random(4), m=random(4), v=np.abs(random(4)) + 0.5),
    "clip": after(("Clip", ("lo", "hi"), {}), lo=np.float32(0), hi=np.float32(6)),
    "clip of one": after(("Clip", ("", "hi"), {}), hi=np.float32(1)),
    "arithmetic": after(("Mul", ("k",), {}), ("Sub", ("k",), {}), ("Div", ("two",), {}), ("Neg", (), {}),
                        k=random(1, 4, 1, 1), two=np.float32(2)),
    "max pool": after(("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]})),
    "max pool, same": after(("MaxPool", (), {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"})),
    "average pool": after(("AveragePool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})),
    "average pool, padding counted": after(("AveragePool", (), {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1})),
    "global pools": after(("GlobalAveragePool", (), {}), ("Flatten", (), {}), ("Gemm", ("g", "h"), {"transB": 1}), g=random(5, 4), h=random(5)),
    "gemm": after(("GlobalMaxPool", (), {}), ("Reshape", ("s",), {}), ("Gemm", ("g",), {"alpha": 0.5}), s=whole(0, -1), g=random(4, 5)),
    "mat mul": after(("ReduceMean", (), {"axes": [2, 3], "keepdims": 0}), ("MatMul", ("g",), {}), ("Add", ("h",), {}), ("Softmax", (), {"axis": -1}),
                     g=random(4, 5), h=random(5)),
    "split": ([CONV, ("Split", ("c",), ("p", "q"), {"axis": 1}), ("Add", ("q", "p"), ("y",), {})], WEIGHTS),
    "slice": after(("Slice", ("s", "e", "a", "t"), {}), s=whole(1, 0), e=whole(8, 2**60), a=whole(2, 1), t=whole(2, 1)),
    "shuffle": after(("Reshape", ("s",), {}), ("Transpose", (), {"perm": [0, 2, 1, 3, 4]}), ("Reshape", ("r",), {}), ("Conv", ("w2",), {}),
                     s=whole(1, 2, 2, 8, 9), r=whole(1, 4, 8, 9), w2=random(5, 4, 1, 1)),
    "gather": after(("Gather", ("i",), {"axis": 1}), i=whole(3, -4, 1)),
    "pad": after(("Pad", ("p",), {}), ("Conv", ("w2",), {"strides": [2, 2]}), p=whole(0, 0, 0, 1, 0, 0, 1, 2), w2=random(5, 4, 3, 3)),
    "space to depth": after(("Slice", ("s", "e", "a"), {}), ("SpaceToDepth", (), {"blocksize": 2}), ("Conv", ("w2",), {}),
                            s=whole(0), e=whole(8), a=whole(3), w2=random(5, 16, 1, 1)),
    "transposed": after(("ConvTranspose", ("t",), {"strides": [2, 2], "pads": [1, 1, 1, 1]}), ("Conv", ("w2",), {}), t=random(4, 6, 4, 4), w2=random(5, 6, 3, 3)),
    "transposed, uneven": after(
        ("ConvTranspose", ("t",), {"strides": [2, 3], "pads": [0, 1, 1, 2], "output_padding": [1, 0]}), ("Conv", ("w2",), {}),
        t=random(4, 6, 3, 4), w2=random(5, 6, 3, 3),
    ),
    "transposed to a shape": after(
        ("ConvTranspose", ("t",), {"strides": [2, 2], "output_shape": [13, 12]}), ("Conv", ("w2",), {}), t=random(4, 6, 3, 3), w2=random(5, 6, 3, 3),
    ),
    "transposed, same": after(
        ("ConvTranspose", ("t",), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}), ("Conv", ("w2",), {}), t=random(4, 6, 3, 3), w2=random(5, 6, 3, 3),
    ),
    "depth to space": after(("DepthToSpace", (), {"blocksize": 2}), ("Conv", ("w2",), {}), w2=random(5, 1, 3, 3)),
    "depth to space, CRD": after(("DepthToSpace", (), {"blocksize": 2, "mode": "CRD"}), ("Conv", ("w2",), {}), w2=random(5, 1, 3, 3)),
    "nearest": after(("Resize", ("", "f"), {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}), ("Conv", ("w2",), {}),
        f=np.float32([1, 1, 2, 3]), w2=random(5, 4, 3, 3)),
    "nearest by default": after(("Resize", ("", "f"), {}), ("Conv", ("w2",), {}), f=np.float32([1, 1, 3, 2]), w2=random(5, 4, 3, 3)),
    "nearest at the end": after(("Resize", ("", "f"), {"coordinate_transformation_mode": "asymmetric"}), f=np.float32([1, 1, 3, 2])),
    "linear at the end": after(("Resize", ("", "", "z"), {"mode": "linear"}), z=whole(1, 4, 17, 20)),
    "linear at the end, corners": after(("Resize", ("", "", "z"), {"mode": "linear", "coordinate_transformation_mode": "align_corners"}), z=whole(1, 4, 17, 20)),
    "dilated": ([CONV, ("Conv", ("c", "w2"), ("y",), {"dilations": [2, 2], "pads": [2, 2, 2, 2]})], {**WEIGHTS, "w2": random(5, 4, 3, 3)}),
    "grouped": ([("Conv", ("x", "w"), ("t",), {}), ("Conv", ("t", "g"), ("y",), {"group": 2, "auto_pad": "SAME_LOWER"})],
                {"w": random(4, 3, 1, 1), "g": random(6, 2, 2, 2)}),
    "residual": ([CONV, ("Relu", ("c",), ("r",), {}), ("Conv", ("r", "w2"), ("d",), {}), ("Sum", ("d", "r", "d2"), ("y",), {}),][:3]
                 + [("Sum", ("d", "r"), ("y",), {})], {**WEIGHTS, "w2": random(4, 4, 1, 1)}),
    "concat": ([CONV, ("Relu", ("c",), ("r",), {}), ("Concat", ("r", "x"), ("y",), {"axis": 1})], WEIGHTS),
    "constants": ([("Constant", (), ("k",), {"value": onnx.numpy_helper.from_array(random(4, 3, 1, 1))}), ("Identity", ("k",), ("w",), {}),
                   ("Conv", ("x", "w"), ("y",), {})], {}),
    "computed shape": ([CONV, ("Shape", ("c",), ("s",), {}), ("Gather", ("s", "zero"), ("n",), {}), ("Unsqueeze", ("n", "zero1"), ("u",), {}),
                        ("Concat", ("u", "rest"), ("t",), {"axis": 0}), ("Reshape", ("c", "t"), ("f",), {}), ("Gemm", ("f", "g"), ("y",), {})],
                       {**WEIGHTS, "zero": np.int64(0), "zero1": whole(0), "rest": whole(-1), "g": random(288, 5)}),
    "hard sigmoid": after(("HardSigmoid", (), {"alpha": 1 / 6, "beta": 0.5})),
    "dropout": after(("Dropout", (), {}), ("Relu", (), {})),
    "argmax": after(("ArgMax", (), {"axis": 1}), ("Cast", (), {"to": 1})),
}  # fmt: skip


@pytest.mark.parametrize("case", FORMS)
def test_operators(case, tmp_path):
    pytest.importorskip("onnxruntime")
    path = write(tmp_path, graph_of(*FORMS[case], shape=(1, 3, 8, 9)))
    network = import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net")
    images = random(1, 3, 8, 9)
    expected = reference(path, images)
    np.testing.assert_allclose(returned(network, torch.from_numpy(images)).reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("open_", ["length", -1])
def test_sequences_and_sizes_that_are_left_open(open_, tmp_path):
    pytest.importorskip("onnxruntime")
    nodes = [("Conv", ("x", "w"), ("c",), {}), ("Relu", ("c",), ("r",), {}), ("MaxPool", ("r",), ("y",), {"kernel_shape": [2], "strides": [2]})]
    path = write(tmp_path, graph_of(nodes, {"w": random(5, 4, 3)}, shape=("batch" if open_ == "length" else open_, 4, open_)))
    network = import_module(onnx_module(path, (4, 20)), (4, 20), "net")
    images = random(1, 4, 20)
    found = returned(network, torch.from_numpy(images)[:, :, None])
    np.testing.assert_allclose(found.reshape(1, 5, 9), reference(path, images), rtol=1e-4, atol=1e-5)


def test_obstacles_name_their_nodes(tmp_path):
    path = write(tmp_path, graph_of([CONV, ("ReduceProd", ("c",), ("s",), {"axes": [1]}), ("Pow", ("s", "c"), ("p",), {}), ("Conv", ("p", "w2"), ("y",), {})], {**WEIGHTS, "w2": random(4, 4, 3, 3)}))
    with pytest.raises(BfpError, match=r"2 obstacles: \(1\) layer reduceprod_1 .*aten.prod.*layer pow_2 .*aten.pow"):
        import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net")


def external(location, **entries):
    model = graph_of([CONV, ("Relu", ("c",), ("y",), {})], WEIGHTS)
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return model, data


def test_external_data_beside_the_file(tmp_path):
    model, data = external("net.data", offset=16, length=432)
    (tmp_path / "net.data").write_bytes(b"\0" * 16 + data)
    assert np.array_equal(read_onnx(write(tmp_path, model)).constants["w"], WEIGHTS["w"])


@pytest.mark.parametrize(
    "location, entries",
    [
        ("../net.data", {}), ("/etc/passwd", {}), ("sub/net.data", {}), ("..", {}), ("", {}), ("gone", {}), ("link", {}),
        ("net.data", {"offset": 1}), ("net.data", {"offset": -1}), ("net.data", {"length": 431}), ("net.data", {"offset": "x"}),
    ],
)  # fmt: skip
def test_external_data_elsewhere_is_refused(location, entries, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    model, data = external(location, **entries)
    for place in (folder, tmp_path):
        (place / "net.data").write_bytes(data)
    (folder / "link").symlink_to(tmp_path / "net.data")
    with pytest.raises(BfpError, match="initializer 'w': its"):
        read_onnx(write(folder, model))


def relu_of(**changes):
    return graph_of([("Relu", ("x",), ("y",), {})], {}, **changes)


def huge_tensor(model):
    tensor = model.graph.initializer.add(name="w", data_type=1)
    tensor.dims.extend([2**40, 2**40])


def short_tensor(model):
    model.graph.initializer.add(name="w", data_type=1, raw_data=b"\0" * 12).dims.append(4)


def few_values(model):
    model.graph.initializer.add(name="w", data_type=1, float_data=[1.0]).dims.append(4)


def strings(model):
    model.graph.initializer.add(name="w", data_type=8).dims.append(1)


def no_type(model):
    model.graph.initializer.add(name="w", data_type=99).dims.append(1)


def negative(model):
    model.graph.initializer.add(name="w", data_type=1).dims.append(-1)


def twice(model):
    model.graph.node.add(op_type="Relu", input=["x"], output=["y"])


def from_later(model):
    model.graph.node.insert(0, onnx.helper.make_node("Relu", ["y"], ["z"]))


def no_output(model):
    model.graph.output[0].name = "nothing"


def other_domain(model):
    model.graph.node[0].domain = "com.microsoft"


def quantised(model):
    model.graph.node.add(op_type="QuantizeLinear", input=["x"], output=["q"])


def two_inputs(model):
    model.graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info("z", 1, (1, 3)))


def with_graph(model):
    model.graph.node[0].attribute.add(name="body", type=onnx.AttributeProto.GRAPH)


def unknown(model):
    model.graph.node[0].op_type = "NonMaxSuppression"


def repeated(node):
    def change(model):
        name, values = node
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, "n"))
        model.graph.node[0].op_type = name
        model.graph.node[0].input[:] = ["n"] if name == "ConstantOfShape" else ["x", "n"]

    return change


HOSTILE = {
    "opset": (lambda m: setattr(m.opset_import[0], "version", 99), "opset 99; 7 to 25 are supported"),
    "huge tensor": (huge_tensor, "has a shape of"),
    "short tensor": (short_tensor, "holds 12 bytes, its shape needs 16"),
    "few values": (few_values, "does not hold what its shape needs"),
    "strings": (strings, "holds no numbers"),
    "no type": (no_type, "type that is not known"),
    "negative": (negative, "has a shape of"),
    "twice": (twice, "its output 'y' is computed twice"),
    "from later": (from_later, "its input 'y' is not computed before it"),
    "no output": (no_output, "its output 'nothing' is not computed"),
    "other domain": (other_domain, "other domains .*microsoft"),
    "quantised": (quantised, "quantised already .QuantizeLinear.; bring the float model"),
    "two inputs": (two_inputs, "takes 2 inputs .'x', 'z'.; say how many channels each has"),
    "with a graph": (with_graph, "attribute 'body' is a graph"),
    "unknown": (unknown, "NonMaxSuppression .first in node 'relu/0'.*supported are"),
    "expanded": (repeated(("Expand", np.full(8, 2**31, np.int64))), "makes more than"),
    "tiled": (repeated(("Tile", np.full(4, 2**31, np.int64))), "makes more than"),
    "padded": (repeated(("Pad", np.full(8, 2**40, np.int64))), "makes more than"),
    "filled": (repeated(("ConstantOfShape", np.full(8, 2**31, np.int64))), "makes more than"),
    "reshaped": (repeated(("Reshape", np.array([7, 7], np.int64))), "cannot be computed"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case, tmp_path):
    change, reason = HOSTILE[case]
    model = relu_of()
    change(model)
    with pytest.raises(BfpError, match=f"ONNX file .*{reason}") as error:
        onnx_module(write(tmp_path, model), (3, 8, 9))
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07\xff\xff")
    with pytest.raises(BfpError, match="damaged or no ONNX file"):
        read_onnx(tmp_path / "net.onnx")
    with pytest.raises(BfpError, match="cannot be read"):
        read_onnx(tmp_path / "gone.onnx")
    path = write(tmp_path, relu_of())
    with pytest.raises(BfpError, match=r"takes images of \[1, 3, 8, 9\], not \[1, 3, 9, 9\]"):
        onnx_module(path, (3, 9, 9))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_end_in_one_sentence(seed, tmp_path):
    """Bytes changed, cut or put in: the file is refused in a sentence, or taken for what it then says."""
    rng = np.random.default_rng(seed)
    data = bytearray(graph_of(*FORMS["computed shape"]).SerializeToString())
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(data)))
        if rng.random() < 0.2:
            del data[at : at + int(rng.integers(1, 40))]
        else:
            data[at] = int(rng.integers(256))
    path = tmp_path / "net.onnx"
    path.write_bytes(bytes(data))
    try:
        import_module(onnx_module(path, (3, 8, 9)), (3, 8, 9), "net")
    except BfpError as error:
        assert "\n" not in str(error)


def test_by_the_network_file(tmp_path):
    """From a network's file to an artifact."""
    from calib import pipeline
    from calib.config import load_config
    from calib.used_files import module_files

    path = write(tmp_path, graph_of(*FORMS["global pools"], shape=("n", 3, 8, 8)))
    (tmp_path / "net.toml").write_text(
        'model = "net.onnx"\n[input]\nsize = 8\nmean = 127\nstd = 60\n[calibration]\nimages = "random"\nlimit = 4\n[bfp]\nmethod = "max"\n'
    )
    config = load_config(tmp_path / "net.toml")
    assert module_files(config)[0] == str(path)
    artifact = pipeline.calibrate(config, tmp_path / "out")
    assert artifact.graph.shapes[artifact.graph.output] == (5, 1, 1) and artifact.provenance["model"] == "net.onnx"


def of_two(nodes, constants, outputs, names=("x", "z:0"), shape=(1, 3, 8, 9)):
    """A model with a second input."""
    model = graph_of(nodes, constants, shape, outputs)
    model.graph.input.add().CopyFrom(onnx.helper.make_tensor_value_info(names[1], 1, [shape[0], 1, *shape[2:]]))
    return model


def test_several_inputs_and_outputs_by_the_files_names(tmp_path):
    """Names of ONNX that are none elsewhere are made to fit."""
    nodes = [CONV, ("Relu", ("c",), ("heat/map",), {}), ("Concat", ("c", "z:0"), ("both",), {"axis": 1})]
    nodes += [("GlobalAveragePool", ("both",), ("mean",), {}), ("Flatten", ("mean",), ("scores",), {})]
    path = write(tmp_path, of_two(nodes, WEIGHTS, ("heat/map", "scores")))
    shapes = {"z_0": (1, 8, 9), "x": (3, 8, 9)}  # in an order of their own
    network = import_module(onnx_module(path, shapes), shapes, "net")
    assert network.graph.inputs == ("z_0", "x") and network.graph.outputs == ("heat_map", "scores")
    images = {"z:0": random(1, 1, 8, 9), "x": random(1, 3, 8, 9)}
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = returned(network, torch.from_numpy(np.concatenate(list(images.values()), 1)))
    for ours, theirs in zip(found.values(), session.run(None, images)):
        np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"x": (3, 8, 9), "y": (1, 8, 9)}, "takes 2 inputs .'x', 'z:0'."),
        ({"x": (3, 8, 9), "z_0": (2, 8, 9)}, r"takes images of \[1, 1, 8, 9\], not \[1, 2, 8, 9\]"),
        ({"x": (3, 8, 9), "z_0": (1, 9, 9)}, "of several sizes"),
    ],
)
def test_other_inputs_than_the_files_are_refused(tmp_path, shapes, message):
    path = write(tmp_path, of_two([CONV, ("Concat", ("c", "z:0"), ("y",), {"axis": 1})], WEIGHTS, ("y",)))
    with pytest.raises(BfpError, match=message):
        onnx_module(path, shapes)
