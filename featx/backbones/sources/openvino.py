"""Graph files that OpenVINO reads (IR, TFLite, ...) as backbones: ``openvino:FILE#TENSOR`` (extra ``openvino``).

OpenVINO in fp32 on one stream is the reference, too.
"""
