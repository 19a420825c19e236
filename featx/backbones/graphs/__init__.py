"""Graph files (ONNX, OpenVINO's IR, TFLite) as networks that a library runs up to any of their tensors."""
