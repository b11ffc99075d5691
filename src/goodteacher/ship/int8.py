"""Static quantisation of an ONNX file to 8 bits, calibrated on training inputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

COMPUTES = ("Conv", "Gemm", "MatMul")
BATCH = 32


def quantised(source: Path, input_name: str, inputs: Tensor, target: Path) -> None:
    """Write a copy of an ONNX file whose weights and activations have 8 bits.

    Weights are symmetric per output channel, in 7 of the 8 bits, so that sums cannot overflow on processors without VNNI;
    activations have the range that calibration saw. What lies before the first and behind the last layer that computes
    (preprocessing, softmax) stays as it is.

    Args:
        source: the float file.
        input_name: of its input.
        inputs: raw training inputs to calibrate on.
        target: the file to write.

    Source: Jacob et al. (2018); the tool is ONNX Runtime's.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folded = target.with_suffix(".folded")
    try:
        quant_pre_process(str(source), str(folded), skip_symbolic_shape=True)
        nodes = onnx.load(folded).graph.node
        computing = [place for place, node in enumerate(nodes) if node.op_type in COMPUTES]
        spared = [node.name for place, node in enumerate(nodes) if not computing[0] <= place <= computing[-1]]
        quantize_static(
            str(folded), str(target), _reader(input_name, inputs),
            quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=spared,
        )  # fmt: skip
    finally:
        folded.unlink(missing_ok=True)


def _reader(input_name: str, inputs: Tensor) -> object:
    """Return batches as ONNX Runtime's calibration reads them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(inputs.split(BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {input_name: np.ascontiguousarray(batch.numpy())}

    return Reader()
