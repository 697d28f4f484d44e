"""From an artifact to HLS C++, a weight image, and a C simulation of both. NumPy and Jinja."""
