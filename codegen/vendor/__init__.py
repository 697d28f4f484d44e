"""Vitis HLS and Vivado, where they are installed."""
