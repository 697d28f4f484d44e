"""Small networks as users write them: name to builder and input shape, (channels, height, width) or (channels, length)."""

from __future__ import annotations

from . import classifiers, fields, sequences

NETWORKS = {**classifiers.NETWORKS, **fields.NETWORKS, **sequences.NETWORKS}
