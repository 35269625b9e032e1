"""OpenVINO on the CPU, for latency, its arithmetic kept to float32."""

from __future__ import annotations

import openvino

from alexnet.comparison.cases import Arrays, Case, NetworkCase
from alexnet.comparison.peers import onnx_model
from alexnet.comparison.peers.inference import InferenceEngine, job, nchw
from alexnet.comparison.peers.interface import Job


class OpenVino(InferenceEngine):
    """One compiled model a case."""

    def __init__(self, threads: int) -> None:
        self._core = openvino.Core()
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }

    def version(self) -> str:
        return f"OpenVINO {openvino.__version__.partition('-')[0]}"

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:  # noqa: ARG002
        assert isinstance(case, NetworkCase)
        model = self._core.read_model(onnx_model.build(case, operands))
        request = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        images = nchw(operands["x"])
        return job(lambda: request.infer([images], share_inputs=True, share_outputs=True)[0])


PEER = OpenVino
