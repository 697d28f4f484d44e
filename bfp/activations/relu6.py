"""ReLU6: nothing below zero, nothing above six; above six over its scale in a channel that was scaled."""

from bfp.activations.record import Activation
from bfp.operators.record import Scaling

RELU6 = Activation("relu6", low=0.0, high=6.0, scaling=Scaling.ABSORBED)
