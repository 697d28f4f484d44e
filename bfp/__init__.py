"""Static block floating point: format, graph, artifact and golden model.

NumPy only, and Python 3.10, so that the board can import it. Nothing here
knows about PyTorch, HLS or PYNQ.
"""

from bfp.errors import BfpError

__all__ = ["BfpError"]
