"""From a trained PyTorch network to the artifact: import, statistics, exponents."""
