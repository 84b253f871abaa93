"""The one place that imports onnxruntime, and how a session is opened for serving."""

from __future__ import annotations

from typing import Any

# onnxruntime must be loaded before usearch (onnxruntime 1.31.1 with usearch 2.26.6: the other
# order ends in a segmentation fault; seen 2026-11). Whoever imports `models` is on the safe side.
import onnxruntime

from cds.domain.errors import CdsError, Reason

# More intra-op threads are slower on a busy machine; concurrency comes from processes.
N_INTRA_OP_THREADS = 1
_LOG_SEVERITY_ERROR = 3


def open_session(model_bytes: bytes) -> onnxruntime.InferenceSession:
    """Open an ONNX graph for inference on the CPU with one thread.

    The bytes are the ones whose checksum was verified, so that the file cannot change between
    check and use; a graph given as bytes cannot load external data from elsewhere.

    Parameters
    ----------
    model_bytes
        A serialised ONNX model.

    Returns
    -------
    onnxruntime.InferenceSession
        CPU provider, one intra-op and one inter-op thread.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if the bytes are not a graph that this runtime can execute.

    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = N_INTRA_OP_THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_SEVERITY_ERROR
    try:
        return onnxruntime.InferenceSession(
            model_bytes, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except _SESSION_ERRORS as error:
        raise CdsError(
            Reason.MODEL_UNAVAILABLE, "The image model is not a graph that can be executed."
        ) from error


def run_refusing(
    session: onnxruntime.InferenceSession, names: list[str], feed: dict[str, Any]
) -> list[Any]:
    """Run a graph that nobody has run before.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE if it cannot take this input.

    """
    try:
        return list(session.run(names, feed))
    except _SESSION_ERRORS as error:
        shapes = ", ".join("x".join(map(str, array.shape[1:])) for array in feed.values())
        raise CdsError(
            Reason.MODEL_UNAVAILABLE,
            f"The image model's graph does not take pictures of {shapes}, which its "
            "preprocessor_config.json asks for.",
        ) from error


_state = onnxruntime.capi.onnxruntime_pybind11_state
_SESSION_ERRORS: tuple[type[Exception], ...] = (
    _state.Fail,
    _state.InvalidArgument,
    _state.InvalidGraph,
    _state.InvalidProtobuf,
    _state.NoSuchFile,
    _state.NotImplemented,
    _state.RuntimeException,
)
