"""Measurements against other systems. Each runs both sides on the same machine in one run."""
