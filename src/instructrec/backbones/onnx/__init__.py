"""Language models as ONNX graphs, in float32 or with eight-bit weights, for fast CPUs."""

from instructrec.backbones.onnx.backbone import OnnxBackbone
from instructrec.backbones.onnx.exporting import export_onnx
from instructrec.backbones.onnx.graphs import FORMATS, GRAPHS, Graphs

__all__ = ["FORMATS", "GRAPHS", "Graphs", "OnnxBackbone", "export_onnx"]
