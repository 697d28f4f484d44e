"""The rules, by subject. Each takes a kernel and yields findings."""
