"""A node of an ONNX graph with the values of its operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bfp.errors import BfpError
from bfp.names import shown
from calib.frontend.onnx.reader import OnnxNode


@dataclass(frozen=True)
class Operands:
    """A node with the values of its operands: tensors, arrays of whole numbers, None where one is left out."""

    node: OnnxNode
    values: tuple[Tensor | np.ndarray | None, ...]
    opset: int

    def __getitem__(self, place: int) -> Tensor | None:
        """An operand as a tensor, None where it is left out."""
        value = self.values[place] if place < len(self.values) else None
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    def numbers(self, place: int, attribute: str = "") -> list[int] | None:
        """Whole numbers of an operand, or of the attribute that stood for it in older files; None for neither."""
        value = self.values[place] if place < len(self.values) else None
        if value is None:
            found = self.node.attributes.get(attribute)
            return None if found is None else [int(v) for v in found]
        if not isinstance(value, np.ndarray):
            raise BfpError(f"node {shown(self.node.name)}: its operand {place} must be constant whole numbers")
        return [int(v) for v in value.reshape(-1)]

    def number(self, place: int, attribute: str, default: float | None) -> Tensor | float | None:
        """A constant number of an operand, or of the attribute that stood for it in older files; of several ones the tensor."""
        value = self.values[place] if place < len(self.values) else None
        if value is None:
            return self.get(attribute, default)
        return float(value.reshape(-1)[0]) if isinstance(value, np.ndarray) and value.size == 1 else self[place]

    def get(self, name: str, default: object = None) -> object:
        """An attribute."""
        return self.node.attributes.get(name, default)

    def refuse(self, reason: str) -> BfpError:
        """What is wrong with the node."""
        return BfpError(f"node {shown(self.node.name)} ({self.node.kind}): {reason}")
