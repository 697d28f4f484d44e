"""No activation: the sum as it is."""

from bfp.activations.record import Activation
from bfp.operators.record import Scaling

NONE = Activation("none", low=None, high=None, scaling=Scaling.PASSES)
