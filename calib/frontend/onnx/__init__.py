"""ONNX files in: read as hostile, checked, and brought into a module that the importer traces as any other."""
