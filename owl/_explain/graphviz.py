"""Plans in the DOT language: a cluster per kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owl._explain.plan import Fate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from owl._explain.plan import Operation, Plan, Window

COLOURS = {"stored": "#d3ecd3", "donated": "#ffdfa8", "left over": "#e4d8f6", "absorbed": "#eeeeee", "plain": "#ffffff"}


def render(windows: list[Window], remark: str) -> str:
    """A digraph: a cluster for each window, plan and kernel, a node per operation, an edge per operand."""
    lines = [
        "digraph plans {",
        '  graph [fontname="sans-serif", compound=true, rankdir=TB];',
        '  node [fontname="monospace", fontsize=10, shape=box, style="filled,rounded", fillcolor="white"];',
        '  edge [fontname="sans-serif", fontsize=9];',
    ]
    if remark:
        lines.append(f"  label={_quoted(remark)};")
    for w, window in enumerate(windows):
        lines += [f"  subgraph cluster_w{w} {{", f"    label={_quoted(window.title)};"]
        for p, plan in enumerate(window.plans):
            lines += [f"    {line}" for line in _plan(plan, f"w{w}p{p}")]
        lines.append("  }")
    lines.append("}")
    return "\n".join(lines)


def colour(operation: Operation) -> str:
    """What became of an operation's value, as a key of COLOURS."""
    if operation.fate is Fate.left_over:
        return "left over"
    if operation.output is not None:
        return "donated" if operation.output.written_over else "stored"
    return "absorbed" if operation.fate is Fate.absorbed else "plain"


def _plan(plan: Plan, prefix: str) -> Iterator[str]:
    yield f"subgraph cluster_{prefix} {{"
    yield f"  label={_quoted(f'{plan.title}' + chr(10) + plan.footer)};"
    for k, source in enumerate(plan.inputs):
        fill = COLOURS["donated"] if source.overwritten_by else "#e3ecf8"
        label = _quoted(f"{source.name} {source.type}")
        yield f'  {prefix}x{k} [label={label}, shape=ellipse, fillcolor="{fill}"];'
    drawn = {i for i, operation in enumerate(plan.operations) if operation.fate is not Fate.dropped}
    for number, kernel in enumerate(plan.kernels):
        yield f"  subgraph cluster_{prefix}k{number} {{"
        yield f"    label={_quoted(plan.head(number))}; style=rounded;"
        for i in kernel.operations:
            yield f"    {_node(plan.operations[i], prefix)}"
        yield "  }"
    for i in sorted(drawn):
        if plan.operations[i].kernel < 0:
            yield f"  {_node(plan.operations[i], prefix)}"
    for i in sorted(drawn):
        for reference in plan.operations[i].operands:
            name = f"{prefix}{plan.array(reference).name}"
            yield f"  {name} -> {prefix}v{i} [label={_quoted(plan.array(reference).type)}];"
    dropped = [operation.name for operation in plan.having(Fate.dropped)]
    if dropped:
        yield f"  {prefix}dropped [label={_quoted('dropped: ' + ', '.join(dropped))}, style=dashed];"
    yield "}"


def _node(operation: Operation, prefix: str) -> str:
    label = _quoted(f"{operation.name} = {operation.call}\n{operation.site}")
    return f'{prefix}{operation.name} [label={label}, fillcolor="{COLOURS[colour(operation)]}"];'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
