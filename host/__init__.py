"""The board side: image preprocessing, driver and command line. NumPy, PIL and pynq; no PyTorch."""
