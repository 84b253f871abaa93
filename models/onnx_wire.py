"""Refuses a serialised ONNX model that names files or libraries, before a runtime opens it.

The runtime looks for external tensors on the disk, so a graph that somebody brought along is read
here first. Only the wire format of protocol buffers is needed; nothing is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cds.domain.errors import CdsError, Reason

NOT_A_GRAPH = "The image model is not an ONNX graph that can be read."
EXTERNAL_DATA = (
    "The image model keeps its weights in another file; export it into a single model.onnx."
)
CUSTOM_OPERATORS = (
    "The image model needs operators of its own, which are not loaded; export it with standard "
    "ONNX operators."
)

# Domains whose operators ONNX Runtime brings along.
_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL = 1  # TensorProto.DataLocation
_MAX_DEPTH = 24

# Source: onnx/onnx.proto3, field numbers of the messages that can hold a tensor.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "opset": {},
}
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION, _OPSET_DOMAIN = 13, 14, 1


def refuse_unsafe_graph(model_bytes: bytes) -> None:
    """Raise if the model names files beside itself, or operators that would need a library.

    Parameters
    ----------
    model_bytes
        A serialised ONNX model.

    Raises
    ------
    CdsError
        MODEL_UNAVAILABLE, saying which; also if the bytes are no ONNX model.

    """
    try:
        has_graph = _walk(memoryview(model_bytes), "model", 0)
    except (IndexError, ValueError) as error:
        raise CdsError(Reason.MODEL_UNAVAILABLE, NOT_A_GRAPH) from error
    if not has_graph:
        raise CdsError(Reason.MODEL_UNAVAILABLE, NOT_A_GRAPH)


def _walk(message: memoryview, kind: str, depth: int) -> bool:
    """Look through one message; tell whether it holds a graph."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    has_graph = False
    for number, wire_type, value in _fields(message):
        _check(kind, number, value)
        inner = _MESSAGES[kind].get(number)
        if inner is None:
            continue
        if wire_type != _BYTES or isinstance(value, int):
            raise ValueError("a message is expected")
        has_graph = has_graph or inner == "graph"
        _walk(value, inner, depth + 1)
    return has_graph


def _check(kind: str, number: int, value: int | memoryview) -> None:
    is_external = (number == _TENSOR_LOCATION and value == _EXTERNAL) or (
        number == _TENSOR_EXTERNAL_DATA
    )
    if kind == "tensor" and is_external:
        raise CdsError(Reason.MODEL_UNAVAILABLE, EXTERNAL_DATA)
    if kind == "opset" and number == _OPSET_DOMAIN and not isinstance(value, int):
        domain = bytes(value).decode("utf-8", "replace")
        if domain not in _KNOWN_DOMAINS:
            raise CdsError(Reason.MODEL_UNAVAILABLE, CUSTOM_OPERATORS, domain=domain)


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield number, wire type and value of each field."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        value: int | memoryview
        if wire_type == _VARINT:
            value, at = _varint(message, at)
        elif wire_type in {_FIXED64, _FIXED32}:
            size = 8 if wire_type == _FIXED64 else 4
            value, at = message[at : at + size], at + size
        elif wire_type == _BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        else:
            raise ValueError("unknown wire type")
        if at > len(message) or number == 0:
            raise ValueError("a field ends behind its message")
        yield number, wire_type, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
