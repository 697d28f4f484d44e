"""How many LUTs and DSPs the logic of the kernel's functions takes: by clang, Yosys and a converter between the two."""
