"""Networks: what one is made of, where its weights are and on what terms, its ONNX file, its place on a server."""
