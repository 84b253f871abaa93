"""Pictures to vectors: preprocessing, the shipped ONNX encoder, training and evaluation.

Importing this package loads onnxruntime (through `models.runtime`) before anything else can load
usearch; the other order crashes the process.
"""

from models import runtime as runtime
