"""onnxruntime sessions: which device, and how a session is set up on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from schemas.errors import EncoderError
from worker.encoder.folder import INPUT_NAMES, OUTPUT_NAME

Device = Literal["auto", "cpu", "cuda"]
Provider = str | tuple[str, dict[str, str]]

CUDA = "CUDAExecutionProvider"
CPU_PROVIDERS: tuple[Provider, ...] = ("CPUExecutionProvider",)
# TF32 would cut the products' mantissas to 10 bits: vectors off by 1e-3 from those of a CPU.
CUDA_PROVIDERS: tuple[Provider, ...] = ((CUDA, {"use_tf32": "0"}), *CPU_PROVIDERS)

_SESSION_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_ERRORS_ONLY = 3

log = logging.getLogger(__name__)


def open_session(graph: Path, providers: Sequence[Provider]) -> onnxruntime.InferenceSession:
    """Open a graph with one thread for each call; callers run several calls at once instead.

    At the small batches that suit a CPU's caches, threads inside a call cost more than they give.

    Raises:
        EncoderError: onnxruntime cannot load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # A waiting thread would spin on a core that the worker's other stages could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=list(providers))
    except _SESSION_ERRORS as error:
        raise EncoderError(f"onnxruntime cannot load {graph}: {error}") from error


def cuda_usable(device: Device) -> bool:
    """Tell whether there is a GPU to try.

    onnxruntime lists its CUDA provider even on machines without a GPU, and complains at length
    when it is then asked for it: so the GPU is looked for first.

    Raises:
        EncoderError: the device is "cuda" and there is no using it.
    """
    missing = None
    if CUDA not in onnxruntime.get_available_providers():
        missing = "this onnxruntime has no CUDA provider; install onnxruntime-gpu"
    elif not torch.cuda.is_available():
        missing = "torch finds no usable NVIDIA GPU"
    if missing is not None:
        _do_without_cuda(missing, device)
    return missing is None


def open_cuda_session(graph: Path, device: Device) -> onnxruntime.InferenceSession | None:
    """Open a graph on the GPU, or return None where "auto" has to do with the CPU after all.

    Importing torch, above, has loaded the CUDA libraries that onnxruntime needs.

    Raises:
        EncoderError: the device is "cuda" and onnxruntime cannot use the GPU.
    """
    session = open_session(graph, CUDA_PROVIDERS)
    if CUDA in session.get_providers():
        return session
    _do_without_cuda(
        f"onnxruntime {onnxruntime.__version__} could not start its CUDA provider (its own message"
        " names the missing library)",
        device,
    )
    return None


def _do_without_cuda(missing: str, device: Device) -> None:
    if device == "cuda":
        raise EncoderError(
            f"the text encoder cannot run on cuda: {missing}; use the device auto or cpu"
        )
    log.info("the text encoder runs on the CPU: %s", missing)


def run_session(
    session: onnxruntime.InferenceSession,
    input_ids: NDArray[np.int64],
    attention_mask: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Encode tokens (batch, sequence) as vectors (batch, dimension)."""
    inputs = dict(zip(INPUT_NAMES, (input_ids, attention_mask), strict=True))
    vectors: NDArray[np.float32] = session.run([OUTPUT_NAME], inputs)[0]
    return vectors
