"""The float network and everything that runs it."""
