"""ReLU: nothing below zero."""

from bfp.activations.record import Activation
from bfp.operators.record import Scaling

RELU = Activation("relu", low=0.0, high=None, scaling=Scaling.PASSES)
