"""ONNX Runtime: its CPU provider with all graph optimisations, in float32.

Its one switch to bfloat16, `mlas.enable_gemm_fastmath_arm64_bfloat16`, acts on ARM only, and its
CPU provider has no convolution on bfloat16 tensors: so it runs in float32 whatever is asked for.
"""

from __future__ import annotations

import onnxruntime

from alexnet.comparison.cases import Arrays, Case, NetworkCase
from alexnet.comparison.peers import onnx_model
from alexnet.comparison.peers.inference import InferenceEngine, job, nchw
from alexnet.comparison.peers.interface import Job


class OnnxRuntime(InferenceEngine):
    """One session a case."""

    def __init__(self, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._options = options

    def version(self) -> str:
        return f"ONNX Runtime {onnxruntime.__version__}"

    def prepare(self, case: Case, mode: str, operands: Arrays) -> Job:  # noqa: ARG002
        assert isinstance(case, NetworkCase)
        session = onnxruntime.InferenceSession(
            onnx_model.build(case, operands), self._options, providers=["CPUExecutionProvider"]
        )
        images = {"x": nchw(operands["x"])}
        return job(lambda: session.run(None, images)[0])


PEER = OnnxRuntime
