from __future__ import annotations

import torch

from goodteacher.ship.deployed import deployed
from goodteacher.ship.formats import write
from ship.conftest import needs_onnx


@needs_onnx
def test_layers_have_weights_of_8_bits_and_what_lies_around_them_stays_as_it_is(run, problem, tmp_path):
    import onnx

    path = tmp_path / "model.int8.onnx"
    write("int8", deployed(run), problem.train.inputs.rows(torch.arange(64)), path)
    model = onnx.load(path)
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    convolutions = [m for m in run.model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(weights) == len(convolutions)
    # Seven of the eight bits, per output channel.
    assert all(abs(onnx.numpy_helper.to_array(t).astype(int)).max() <= 64 for t in weights)
    kinds = [node.op_type for node in model.graph.node]
    softmax = kinds.index("Softmax")
    assert "QuantizeLinear" not in kinds[softmax:] and kinds.count("QuantizeLinear") >= len(convolutions)
    # Normalisation comes before the first rounding.
    assert kinds.index("Div") < kinds.index("QuantizeLinear")
    write("onnx", deployed(run), torch.zeros(0), tmp_path / "model.onnx")
    assert path.stat().st_size < (tmp_path / "model.onnx").stat().st_size
