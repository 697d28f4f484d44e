"""The golden model: the network in NumPy integers, bit for bit what the hardware computes.

It reads the artifact that code generation reads and shares no arithmetic with
the generated C++. Integers go through BLAS only where their bound is proved
to be exact in the float type used. One module per operator.
"""

from bfp.golden.model import logits, quantise_input, returned, run

__all__ = ["logits", "quantise_input", "returned", "run"]
