"""Pictures of a pipeline: lines of text, and an SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from owl.aio.pipeline.builder import Pipeline

_WIDTH, _HEIGHT, _GAP, _MARGIN = 168, 76, 36, 12
_STYLE = (
    "rect{fill:#f6f8fa;stroke:#57606a}.busiest{stroke:#cf222e;stroke-width:2}"
    "text{font:12px sans-serif;fill:#24292f;text-anchor:middle}.name{font-weight:bold}path{stroke:#57606a;fill:none}"
)


def draw_text(pipe: Pipeline) -> str:
    """One line per stage, from the source down."""
    width = max(len(stage.name) for stage in pipe.stages)
    lines = [f"{stage.name:<{width}}  {stage.describe()}".rstrip() for stage in pipe.stages]
    return "Pipeline\n" + "\n".join(f"  {'└' if at else '┌'} {line}" for at, line in enumerate(lines))


def draw_svg(pipe: Pipeline) -> str:
    """Boxes from left to right; the busiest stage of the run is outlined."""
    measured = {stage.name: stage for stage in pipe.stats().stages}
    busiest = max(measured.values(), key=lambda stage: stage.busy).name if measured else None
    boxes = [_box(at, stage, measured.get(stage.name), stage.name == busiest) for at, stage in enumerate(pipe.stages)]
    width = len(boxes) * (_WIDTH + _GAP) - _GAP + 2 * _MARGIN
    height = _HEIGHT + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<style>{_STYLE}</style><defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8"/></marker></defs>' + "".join(boxes) + "</svg>"
    )


def _box(at: int, stage: Any, measured: Any, busiest: bool) -> str:
    left, top = _MARGIN + at * (_WIDTH + _GAP), _MARGIN
    middle = left + _WIDTH / 2
    lines = [("name", stage.name), ("", stage.describe())]
    if measured is not None:
        lines.append(("", f"{measured.rate:.0f} items/s, {measured.busy:.0%} busy"))
    texts = "".join(
        f'<text class="{kind}" x="{middle}" y="{top + 22 * (row + 1)}">{escape(_short(line))}'
        f"<title>{escape(line)}</title></text>"
        for row, (kind, line) in enumerate(lines)
    )
    arrow = f'<path marker-end="url(#tip)" d="M{left - _GAP} {top + _HEIGHT / 2}H{left}"/>' if at else ""
    kind = ' class="busiest"' if busiest else ""
    return f'{arrow}<rect{kind} x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>{texts}'


def _short(line: str, limit: int = 26) -> str:
    return line if len(line) <= limit else line[: limit - 1] + "…"
