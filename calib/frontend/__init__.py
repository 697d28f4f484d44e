"""PyTorch in, float network out: what the engine cannot compute is refused here."""
