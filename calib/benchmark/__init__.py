"""What is measured of this project's own speed and memory, each against a reference in the same run: `doit benchmark`."""
