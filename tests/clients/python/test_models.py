"""ONNX models that a query scores rows with, against what onnxruntime itself says of them."""

import os
import signal
from pathlib import Path

# Before the library is loaded, which would send what it does to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy
import onnx
import onnxruntime
import pytest
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoServiceError
from onnx import TensorProto, helper

from conftest import Platform, wait_for

ROWS = [(n % 17 - 8.0, (n * 7) % 23 / 4) for n in range(500)]
OPSETS = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 3)]


def model(nodes, output, initializers=()):
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph(nodes, "graph", [features], [output], list(initializers))
    made = helper.make_model(graph, opset_imports=OPSETS, ir_version=8)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def line():
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], [2.0, -3.5])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [1], [0.25])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    return model([helper.make_node("Gemm", ["features", "weights", "bias"], ["y"])], output, [weights, bias])


def classes():
    scaler = helper.make_node(
        "Scaler", ["features"], ["scaled"], domain="ai.onnx.ml", offset=[1.0, 2.0], scale=[0.5, 0.25]
    )
    classifier = helper.make_node(
        "LinearClassifier", ["scaled"], ["label", "scores"], domain="ai.onnx.ml", multi_class=1, post_transform="SOFTMAX",
        coefficients=[1.0, -1.0, -1.0, 1.0], intercepts=[0.1, -0.1], classlabels_strings=["cool", "hot"],
    )
    return model([scaler, classifier], helper.make_tensor_value_info("label", TensorProto.STRING, [None]))


def tree():
    node = helper.make_node(
        "TreeEnsembleRegressor", ["features"], ["y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0] * 5, nodes_nodeids=[0, 1, 2, 3, 4], nodes_featureids=[0, 1, 0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"], nodes_values=[0.5, 2.0, 0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 3, 0, 0, 0], nodes_falsenodeids=[2, 4, 0, 0, 0],
        target_treeids=[0] * 3, target_nodeids=[2, 3, 4], target_ids=[0] * 3, target_weights=[10.0, 20.0, 30.5],
    )
    return model([node], helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1]))


def elsewhere(folder):
    """The line with its weights in a file, which a model that is a value cannot have."""
    made = onnx.load_from_string(line())
    (folder / "weights.bin").write_bytes(numpy.array([2.0, -3.5], numpy.float32).tobytes())
    weights = made.graph.initializer[0]
    weights.ClearField("float_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": str(folder / "weights.bin").lstrip("/"), "offset": "0", "length": "8"}.items():
        weights.external_data.add(key=key, value=value)
    return made.SerializeToString()


def greedy():
    """Asks for 16 GiB."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1 << 16, 1 << 16])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=1),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["y1"]),
        helper.make_node("Add", ["y1", "sum"], ["y"]),
    ]
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [2, 1], [2.0, -3.5])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [1], [0.25])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    return model(nodes, output, [shape, weights, bias])


def expected(content):
    session = onnxruntime.InferenceSession(content)
    return session.run([session.get_outputs()[0].name], {"features": numpy.array(ROWS, numpy.float32)})[0]


def client_of(env):
    os.environ["REQUESTS_CA_BUNDLE"] = env["GANTRY_CA_FILE"]
    builder = KustoConnectionStringBuilder.with_aad_user_token_authentication(env["KUSTO_URL"], env["KUSTO_TOKEN"])
    return KustoClient(builder)


def started(folder, library, offset=20000):
    """A platform of its own, which is told of a library."""
    running = Platform(os.environ["GANTRY_BIN"], folder)
    running.config = folder / "gantry.toml"
    running.config.write_text(f'[ports]\noffset = {offset}\n[tables]\nonnxruntime = "{library}"\n')
    return running.start()


@pytest.fixture(scope="module")
def scoring(tmp_path_factory):
    """One that knows the library of the wheel."""
    folder = tmp_path_factory.mktemp("scoring")
    running = started(folder, next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")))
    client = client_of(running.env)
    rows = ", ".join(f"real({a}), real({b})" for a, b in ROWS)
    client.execute_mgmt("telemetry", f".set Readings <| datatable(a:real, b:real)[{rows}] | serialize n = row_number()")
    made = {"line": line(), "classes": classes(), "tree": tree(), "broken": b"no model"}
    for name, content in {**made, "elsewhere": elsewhere(folder), "greedy": greedy()}.items():
        command = f".set-or-append Models <| print name='{name}', timestamp=now(), model='{content.hex()}'"
        client.execute_mgmt("telemetry", command)
    yield running, client
    client.close()
    running.stop()


def predicted(client, name, column, features="pack_array('a', 'b')"):
    text = f"Readings | extend p = {column} | invoke predict_onnx_fl(Models, '{name}', {features}, 'p') | order by n asc"
    return [row["p"] for row in client.execute_query("telemetry", text).primary_results[0]]


def workers(platform):
    """Processes that the platform started to run models."""
    children = Path(f"/proc/{platform.process.pid}/task").glob("*/children")
    return [int(pid) for file in children for pid in file.read_text().split()]


@pytest.mark.parametrize("name", ["line", "tree"])
def test_numbers_are_those_of_the_library(scoring, name):
    content = {"line": line, "tree": tree}[name]()
    assert predicted(scoring[1], name, "real(null)") == pytest.approx(expected(content).ravel().tolist(), abs=1e-5)


def test_names_of_classes_are_those_of_the_library(scoring):
    found = predicted(scoring[1], "classes", "''")
    assert found == expected(classes()).tolist() and set(found) == {"cool", "hot"}


def test_what_cannot_be_scored_is_said_and_the_platform_goes_on(scoring):
    platform, client = scoring
    for text, words in [
        ("Readings | extend p = 0.0 | invoke predict_onnx_fl(Models, 'broken', pack_array('a', 'b'), 'p')", "predict_onnx()"),
        ("Readings | extend p = 0.0 | invoke predict_onnx_fl(Models, 'none', pack_array('a', 'b'), 'p')", "is there one of this name?"),
        ("Readings | extend p = 0.0 | invoke predict_onnx_fl(Models, 'line', pack_array('a'), 'p')", "predict_onnx()"),
        ("Readings | extend p = 0.0 | invoke predict_onnx_fl(Models, 'line', pack_array('a', 'x'), 'p')", "no column `x`"),
        ("Readings | invoke predict_onnx_fl(Models, 'line', pack_array('a', 'b'), 'p')", "no column `p`"),
        ("Readings | extend t = 'x', p = 0.0 | invoke predict_onnx_fl(Models, 'line', pack_array('a', 't'), 'p')", "`t` is no number"),
    ]:
        with pytest.raises(KustoServiceError) as error:
            client.execute_query("telemetry", text)
        assert words in str(error.value), error.value
    # Whoever kills the process costs nobody the next answer.
    running = workers(platform)
    assert running
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    def again():
        try:
            return predicted(client, "line", "real(null)")
        except KustoServiceError as error:
            assert "died" in str(error), error
            return None
    assert len(wait_for(again)) == len(ROWS)
    assert platform.process.poll() is None


def test_a_model_reaches_no_files_and_takes_no_more_memory_than_it_may(scoring):
    platform, client = scoring
    for name in ["elsewhere", "greedy"]:
        with pytest.raises(KustoServiceError) as error:
            predicted(client, name, "real(null)")
        assert "predict_onnx()" in str(error.value)
        assert len(predicted(client, "line", "real(null)")) == len(ROWS)
    for pid in workers(platform):
        # Its pipes and its standard error: no file, no socket, no store of what is to be sent to anybody.
        opened = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        assert set(opened) == {"0", "1", "2"}, opened
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert next(line.split()[3:5] for line in limits if line.startswith("Max open files")) == ["0", "0"]


def test_without_the_library_the_way_to_it_is_said(env):
    with client_of(env) as client, pytest.raises(KustoServiceError) as error:
        client.execute_query("telemetry", "print a = 1.0, p = 0.0 | evaluate predict_onnx('00', dynamic(['a']), 'p')")
    assert "tables.onnxruntime" in str(error.value)


def test_a_library_that_cannot_be_loaded_is_named(tmp_path):
    library = tmp_path / "no-library.so"
    library.write_text("text")
    other = started(tmp_path, library, 21000)
    with client_of(other.env) as client:
        for _ in range(2):
            with pytest.raises(KustoServiceError) as error:
                client.execute_query("telemetry", "print a = 1.0, p = 0.0 | evaluate predict_onnx('00', dynamic(['a']), 'p')")
            assert "no-library.so" in str(error.value)
    other.stop()
