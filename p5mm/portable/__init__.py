"""A trained model that recommends without torch: networks in ONNX, tables as arrays."""
