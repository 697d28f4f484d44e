"""Runs the rules over a kernel, and over this project's engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from codegen.lint.kernel import Finding, Kernel, parse
from codegen.lint.rules import (
    agreement, arithmetic, channels, dataflow, instances, interface, language, layout, loops, ports, pragmas,
)  # fmt: skip

HLS = Path(__file__).resolve().parent.parent.parent / "hls"
TOP = "sbfp_engine"
Rule = Callable[[Kernel], Iterable[Finding]]

_RULES: tuple[Rule, ...] = (
    language.compiler_warnings,
    language.heap,
    language.recursion,
    language.pointers,
    language.containers,
    language.headers,
    language.run_time_dispatch,
    language.constructs,
    language.floating_point,
    language.array_sizes,
    language.preprocessor,
    language.volatile,
    language.statics,
    loops.bounded_loops,
    loops.tripcounts,
    loops.pipelines,
    loops.unrolls,
    pragmas.pragma_spelling,
    pragmas.pragma_place,
    pragmas.pragma_scope,
    pragmas.pragma_types,
    agreement.pragma_conflicts,
    agreement.pragma_heads,
    agreement.bound_operations,
    agreement.stable_arguments,
    pragmas.partitions,
    pragmas.aggregates,
    pragmas.unchecked_dependences,
    layout.lane_arrays,
    layout.chosen_lanes,
    layout.struct_choices,
    layout.wide_words,
    layout.scalars_first,
    instances.inlined_helpers,
    instances.single_instances,
    arithmetic.run_time_division,
    arithmetic.run_time_product,
    arithmetic.balanced_chains,
    interface.interface,
    dataflow.dataflow_statements,
    dataflow.dataflow_channels,
    dataflow.stable_jobs,
    channels.channel_ends,
    ports.table_reads,
    ports.dual_ports,
)
# by name, which is what findings carry
RULES: dict[str, Rule] = {rule.__name__: rule for rule in _RULES}


def lint(
    source: Path, includes: Iterable[Path] = (), top: str = TOP, rules: Mapping[str, Rule] = RULES
) -> list[Finding]:
    """Findings of all rules on one kernel, by file and line; none where it keeps to them.

    source: the C++ file of the top function ``top``. includes: folders of its
    own headers. Raises BfpError where it cannot be parsed.
    """
    kernel = parse(source, list(includes), top)

    def found() -> Iterator[Finding]:
        for rule in rules.values():
            yield from rule(kernel)

    return sorted(set(found()))


def lint_engine(generated: Path) -> list[Finding]:
    """Findings on this project's engine with the headers generated for one network."""
    return lint(HLS / "engine.cpp", [HLS, HLS / "synth", generated])
