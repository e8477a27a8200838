"""The text encoder: a pretrained transformer, exported once to ONNX and served by onnxruntime."""
