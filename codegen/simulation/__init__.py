"""Generated sources under an ordinary compiler, against the golden model."""
