"""What is measured of this project's own speed and memory, against references in the same run: `doit benchmark`."""
