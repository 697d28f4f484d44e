"""Refuses, on the kernels' syntax tree, what an HLS compiler cannot build or builds wrongly. libclang."""

from codegen.lint.kernel import Finding, Kernel, parse
from codegen.lint.run import RULES, lint, lint_engine

__all__ = ["RULES", "Finding", "Kernel", "lint", "lint_engine", "parse"]
