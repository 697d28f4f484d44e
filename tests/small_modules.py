"""Building blocks of one-off networks for tests."""

from torch import nn


class Fn(nn.Module):
    """A module whose forward is ``function(layers, x)``; the layers are numbered l0, l1, ..."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        for i, layer in enumerate(layers):
            self.add_module(f"l{i}", layer)

    def forward(self, x):
        return self.function(list(self.children()), x)


def conv(cin=3, cout=4, k=3, **kw):
    """A convolution, 3 to 4 channels and 3x3 unless told otherwise."""
    return nn.Conv2d(cin, cout, k, **kw)
