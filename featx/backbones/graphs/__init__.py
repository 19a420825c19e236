"""Networks in files: graphs of ONNX and OpenVINO, run up to any of their tensors."""
