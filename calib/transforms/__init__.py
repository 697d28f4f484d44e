"""Changes of a float network that keep its function, and make it easier to quantise."""
