"""Artifact in, steps of the engine out."""
