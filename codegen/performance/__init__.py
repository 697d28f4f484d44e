"""The model of the machine: cycles, bytes and area, before anything is synthesised."""
