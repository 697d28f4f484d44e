"""A network's package on its board: what is copied, how it gets there, and its self-test."""
