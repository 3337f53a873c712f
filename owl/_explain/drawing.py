"""Plans as SVG: a box per kernel with its operations, arrows with what they carry."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from owl._explain.graphviz import COLOURS, colour
from owl._explain.layout import Arrow, Box, Layout, arrange
from owl._explain.plan import Fate

if TYPE_CHECKING:
    from owl._explain.plan import Operation, Plan, Window

ROW = 16.0  # height of a line of text
CHARACTER = 6.65  # width of a monospaced character at 11 px
PADDING = 8.0
MARGIN = 20.0
INPUT_FILL = "#e3ecf8"
LEGEND = (
    ("stored", COLOURS["stored"]),
    ("stored over an input (donated)", COLOURS["donated"]),
    ("read in place", COLOURS["absorbed"]),
    ("left over: not stored", COLOURS["left over"]),
    ("input", INPUT_FILL),
)
STYLE = (
    "text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1c2733}"
    ".title{font-size:13px;font-weight:bold}.note{fill:#52606d}.head{font-weight:bold}"
    ".label{fill:#37526b;font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".arrow{fill:none;stroke:#6b8299;stroke-width:1.2}"
)


class Canvas:
    """Collects elements and the room that they take."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.width = 0.0
        self.y = MARGIN

    def text(self, x: float, y: float, content: str, kind: str = "", anchor: str = "start", scale: float = 1.0) -> None:
        """A line of text whose baseline is at y."""
        attributes = f' class="{kind}"' if kind else ""
        attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.elements.append(f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(content)}</text>')
        if anchor == "start":
            self.width = max(self.width, x + len(content) * CHARACTER * scale)

    def box(self, x: float, y: float, width: float, height: float, fill: str, stroke: str, round_by: float = 4) -> None:
        """A rectangle with round corners."""
        self.elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{round_by}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )
        self.width = max(self.width, x + width)

    def line(self, content: str, kind: str = "", indent: float = 0.0, scale: float = 1.0) -> None:
        """A line of text below all that was drawn."""
        self.y += ROW
        self.text(MARGIN + indent, self.y, content, kind, scale=scale)

    def document(self) -> str:
        """The whole drawing."""
        width, height = self.width + MARGIN, self.y + MARGIN
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
                f'viewBox="0 0 {width:.0f} {height:.0f}">',
                f"<style>{STYLE}</style>",
                '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                'orient="auto"><path d="M0 0.5 L8 4 L0 7.5 z" fill="#6b8299"/></marker></defs>',
                f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
                *self.elements,
                "</svg>",
            ]
        )


def render(windows: list[Window], remark: str) -> str:
    """The windows one below the other, and what the colours mean."""
    canvas = Canvas()
    if remark:
        canvas.line(remark, "note")
    for window in windows:
        canvas.line(window.title, "title", scale=1.2)
        for plan in window.plans:
            canvas.line(f"{plan.title}; {plan.footer}", "note", PADDING)
            canvas.y += ROW
            _draw_plan(canvas, plan)
            _list_the_rest(canvas, plan)
        canvas.y += ROW
    if windows:
        _draw_legend(canvas)
    return canvas.document()


def _rows(plan: Plan, kernel: int) -> list[tuple[str, str, str]]:
    """Lines of a kernel's box: text, place in the program, and colour."""
    rows = [(_row(plan.operations[i]), plan.operations[i].site, "absorbed") for i in plan.kernels[kernel].absorbed]
    for i in plan.kernels[kernel].operations:
        operation = plan.operations[i]
        over = operation.output.written_over if operation.output else ""
        rows.append((_row(operation) + (f" over {over}" if over else ""), operation.site, colour(operation)))
    return rows


def _row(operation: Operation) -> str:
    return f"{operation.name} = {operation.call} {operation.type}"


def _draw_plan(canvas: Canvas, plan: Plan) -> None:
    rows = [_rows(plan, number) for number in range(len(plan.kernels))]
    boxes = [
        Box(
            2 * PADDING + CHARACTER * max((len(text) + len(site) + 2 for text, site, _ in lines), default=12),
            ROW * (len(lines) + 1) + 2 * PADDING,
        )
        for lines in rows
    ]
    first_input = len(boxes)
    read = sorted({~source for kernel in plan.kernels for source in kernel.reads if source < 0})
    place_of = {~k: first_input + position for position, k in enumerate(read)}
    captions = [f"{plan.inputs[k].name} {plan.inputs[k].type}" for k in read]
    boxes += [Box(2 * PADDING + CHARACTER * len(caption), ROW + PADDING) for caption in captions]
    arrows = [
        Arrow(
            plan.operations[source].kernel if source >= 0 else place_of[source],
            number,
            f"{plan.array(source).name} {plan.array(source).type}" if source >= 0 else plan.array(source).name,
        )
        for number, kernel in enumerate(plan.kernels)
        for source in kernel.reads
    ]
    labels: list[list[int]] = [[] for _ in boxes]
    for arrow in arrows:
        labels[arrow.target].append(len(arrow.label) + 1)
    for box, lengths in zip(boxes, labels, strict=True):
        box.width = max(box.width, CHARACTER * max(lengths, default=0) * len(lengths))
    layout = arrange(boxes, arrows, set(place_of.values()))
    left, top = MARGIN + PADDING, canvas.y
    for arrow in layout.arrows:
        _draw_arrow(canvas, layout, arrow, left, top)
    for number, lines in enumerate(rows):
        _draw_kernel(canvas, layout.boxes[number], plan.head(number), lines, left, top)
    for position, k in enumerate(read):
        box = layout.boxes[first_input + position]
        fill = COLOURS["donated"] if plan.inputs[k].overwritten_by else INPUT_FILL
        canvas.box(left + box.x, top + box.y, box.width, box.height, fill, "#8aa4c0", 12)
        canvas.text(left + box.centre, top + box.y + ROW, captions[position], anchor="middle")
    canvas.y = top + layout.height + PADDING


def _draw_kernel(
    canvas: Canvas, box: Box, title: str, lines: list[tuple[str, str, str]], left: float, top: float
) -> None:
    x, y = left + box.x, top + box.y
    canvas.box(x, y, box.width, box.height, "#f6f8fa", "#7d8b99", 6)
    canvas.text(x + PADDING, y + ROW, title, "head")
    for k, (text, site, kind) in enumerate(lines):
        row = y + PADDING + ROW * (k + 1)
        if kind != "plain":
            canvas.box(x + 3, row, box.width - 6, ROW - 1, COLOURS[kind], "none", 3)
        canvas.text(x + PADDING, row + 11.5, text)
        canvas.text(x + box.width - PADDING, row + 11.5, site, "note", "end")


def _draw_arrow(canvas: Canvas, layout: Layout, arrow: Arrow, left: float, top: float) -> None:
    source, target = layout.boxes[arrow.source], layout.boxes[arrow.target]
    # Straight down to where the next layer's room begins, so that it crosses none of its neighbours.
    x, y = left + arrow.leaves, top + source.bottom
    path = [f"M{x:.1f} {top + source.y + source.height:.1f} V{y:.1f}"]
    for place in arrow.places:
        box = layout.boxes[place]
        path += [_curve(x, y, left + box.centre, top + box.y), f"V{top + box.bottom:.1f}"]
        x, y = left + box.centre, top + box.bottom
    end_x, end_y = left + arrow.enters, top + target.y
    path.append(_curve(x, y, end_x, end_y))
    canvas.elements.append(f'<path class="arrow" marker-end="url(#tip)" d="{" ".join(path)}"/>')
    canvas.text(end_x, end_y - 10, arrow.label, "label", "middle")


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    middle = (y0 + y1) / 2
    return f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"


def _list_the_rest(canvas: Canvas, plan: Plan) -> None:
    for operation in plan.having(Fate.shared):
        canvas.line(f"shared: {_row(operation)}, the buffer of {plan.array(operation.root).name}", "note", PADDING)
    for operation in plan.having(Fate.left_over):
        canvas.line(f"left over: {_row(operation)}  {operation.site}", "note", PADDING)
    for operation in plan.having(Fate.dropped):
        canvas.line(f"dropped: {_row(operation)}  {operation.site}", "note", PADDING)


def _draw_legend(canvas: Canvas) -> None:
    canvas.y += ROW
    x = MARGIN
    for caption, fill in LEGEND:
        canvas.box(x, canvas.y - 9, 12, 12, fill, "#7d8b99", 2)
        canvas.text(x + 18, canvas.y + 1, caption, "note")
        x += 18 + CHARACTER * len(caption) + 22
