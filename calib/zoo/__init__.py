"""Networks that the project ships, as callables for the ``model = "module:callable"`` of a network file."""
