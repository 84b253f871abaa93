"""Weights in half the space: an ONNX file that stores float16 and computes in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

_STORED_SUFFIX = "_stored"


def round_to_half(network: nn.Module) -> None:
    """Round all weights to what float16 can hold, in place, so that nothing is lost in a file."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(weights.half().float())


def halve(path: Path) -> None:
    """Store the float32 weights of an ONNX file as float16, each followed by a cast.

    A runtime folds the casts of constants when it opens the file: it computes the same as before,
    if the weights were rounded.

    Parameters
    ----------
    path
        Rewritten in place.

    """
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or not values.size:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + _STORED_SUFFIX))
        casts.append(
            helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT, name=name)
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    path.write_bytes(model.SerializeToString())


def initial_values(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a graph by name, float32, whether or not they are stored in half."""
    values = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]].astype(np.float32)
    return values
