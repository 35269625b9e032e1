"""OpenVINO on the CPU, for latency. Its hint says the precision; without one it chooses."""

from __future__ import annotations

import openvino

from alexnet.comparison.cases import BFLOAT16, DEFAULT, FLOAT32, Arrays, Case, NetworkCase
from alexnet.comparison.peers import onnx_model
from alexnet.comparison.peers.inference import InferenceEngine, job, nchw
from alexnet.comparison.peers.interface import Job

HINT = "INFERENCE_PRECISION_HINT"
HINTS = {FLOAT32: "f32", BFLOAT16: "bf16"}


class OpenVino(InferenceEngine):
    """One compiled model a case."""

    def __init__(self, threads: int) -> None:
        self._core = openvino.Core()
        self._options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}

    def version(self) -> str:
        return f"OpenVINO {openvino.__version__.partition('-')[0]}"

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:  # noqa: ARG002
        assert isinstance(case, NetworkCase)
        model = self._core.read_model(onnx_model.build(case, operands))
        hint = {} if case.precision == DEFAULT else {HINT: HINTS[case.precision]}
        compiled = self._core.compile_model(model, "CPU", {**self._options, **hint})
        request, images = compiled.create_infer_request(), nchw(operands["x"])
        chosen = compiled.get_property(HINT).to_string()
        names = {name: precision for precision, name in HINTS.items()}
        return job(
            lambda: request.infer([images], share_inputs=True, share_outputs=True)[0],
            names.get(chosen, chosen),
        )


PEER = OpenVino
