"""Where the boxes and arrows of a plan's drawing go: layers from top to bottom, arrows downwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Box:
    """What takes up room: a kernel, an input, or a place that a long arrow passes through."""

    width: float
    height: float
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    bottom: float = 0.0  # of its layer

    @property
    def centre(self) -> float:
        """The middle, from the left."""
        return self.x + self.width / 2


@dataclass
class Arrow:
    """From a box to one in a later layer, by way of one place in each layer between."""

    source: int
    target: int
    label: str
    places: list[int] = field(default_factory=list)
    leaves: float = 0.0  # where it leaves its source and enters its target, from the left
    enters: float = 0.0

    @property
    def way(self) -> list[int]:
        """All that it touches, from source to target."""
        return [self.source, *self.places, self.target]


@dataclass
class Layout:
    """Boxes and arrows with their coordinates. Behind the boxes that were asked for come the places of long arrows."""

    boxes: list[Box]
    arrows: list[Arrow]
    width: float = 0.0
    height: float = 0.0


SPACE_ACROSS = 28.0
SPACE_DOWN = 56.0
PLACE_WIDTH = 70.0  # of a passing arrow: room for its label
ROUNDS = 12  # of sorting layers by where their neighbours are; more change little


def arrange(boxes: list[Box], arrows: list[Arrow], sources: set[int]) -> Layout:
    """Gives every box a layer and a place. Boxes must be in an order in which arrows point forwards, but for `sources`.

    `sources` are boxes without incoming arrows that go right above the first box which reads them.
    """
    layout = Layout(list(boxes), list(arrows))
    _assign_layers(layout, sources)
    _insert_places(layout)
    layers = _sort_layers(layout)
    _set_coordinates(layout, layers)
    _set_ends(layout)
    return layout


def _assign_layers(layout: Layout, sources: set[int]) -> None:
    boxes = layout.boxes
    above: list[list[int]] = [[] for _ in boxes]
    for arrow in layout.arrows:
        above[arrow.target].append(arrow.source)
    for i, box in enumerate(boxes):
        if i not in sources:
            box.layer = max((boxes[k].layer + 1 for k in above[i]), default=0)
    first_reader: dict[int, int] = {}
    for arrow in layout.arrows:
        layer = boxes[arrow.target].layer
        first_reader[arrow.source] = min(layer, first_reader.get(arrow.source, layer))
    for i in sources:
        boxes[i].layer = max(0, first_reader.get(i, 1) - 1)


def _insert_places(layout: Layout) -> None:
    for arrow in layout.arrows:
        first, last = layout.boxes[arrow.source].layer, layout.boxes[arrow.target].layer
        for layer in range(first + 1, last):
            arrow.places.append(len(layout.boxes))
            layout.boxes.append(Box(PLACE_WIDTH, 0.0, layer))


def _neighbours(layout: Layout) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in layout.boxes]
    below: list[list[int]] = [[] for _ in layout.boxes]
    for arrow in layout.arrows:
        for a, b in pairwise(arrow.way):
            above[b].append(a)
            below[a].append(b)
    return above, below


def _sort_layers(layout: Layout) -> list[list[int]]:
    layers: list[list[int]] = [[] for _ in range(1 + max((box.layer for box in layout.boxes), default=0))]
    for i, box in enumerate(layout.boxes):
        layers[box.layer].append(i)
    above, below = _neighbours(layout)
    position = {i: float(k) for layer in layers for k, i in enumerate(layer)}
    for turn in range(ROUNDS):
        neighbours = above if turn % 2 == 0 else below
        for layer in layers if turn % 2 == 0 else reversed(layers):
            centre = {i: _mean([position[k] for k in neighbours[i]], position[i]) for i in layer}
            layer.sort(key=centre.__getitem__)
            position.update({i: k - len(layer) / 2 for k, i in enumerate(layer)})
    return layers


def _set_coordinates(layout: Layout, layers: list[list[int]]) -> None:
    boxes = layout.boxes
    layout.width = max((_width(boxes, layer) for layer in layers), default=0.0)
    y = 0.0
    for layer in layers:
        x = (layout.width - _width(boxes, layer)) / 2
        height = max((boxes[i].height for i in layer), default=0.0)
        for i in layer:
            boxes[i].x, boxes[i].y, boxes[i].bottom = x, y, y + height
            x += boxes[i].width + SPACE_ACROSS
        y += height + SPACE_DOWN
    layout.height = max(0.0, y - SPACE_DOWN)
    above, below = _neighbours(layout)
    for turn in range(ROUNDS):
        neighbours = above if turn % 2 == 0 else below
        for layer in layers if turn % 2 == 0 else reversed(layers):
            _pull(layout, layer, neighbours)


def _set_ends(layout: Layout) -> None:
    """Arrows of one box stand side by side, sorted by where they come from or go to."""
    boxes = layout.boxes
    leaving: list[list[Arrow]] = [[] for _ in boxes]
    entering: list[list[Arrow]] = [[] for _ in boxes]
    for arrow in layout.arrows:
        leaving[arrow.source].append(arrow)
        entering[arrow.target].append(arrow)
    for box, out, incoming in zip(boxes, leaving, entering, strict=True):
        out.sort(key=lambda arrow: boxes[arrow.way[1]].centre)
        incoming.sort(key=lambda arrow: boxes[arrow.way[-2]].centre)
        for rank, arrow in enumerate(out):
            arrow.leaves = box.x + box.width * (rank + 0.5) / len(out)
        for rank, arrow in enumerate(incoming):
            arrow.enters = box.x + box.width * (rank + 0.5) / len(incoming)


def _pull(layout: Layout, layer: list[int], neighbours: list[list[int]]) -> None:
    """Moves the boxes of a layer towards their neighbours, as far as they do not overlap."""
    boxes = layout.boxes
    left = 0.0
    room = _width(boxes, layer)
    for i in layer:
        wanted = _mean([boxes[k].centre for k in neighbours[i]], boxes[i].centre) - boxes[i].width / 2
        boxes[i].x = min(max(wanted, left), layout.width - room)
        left = boxes[i].x + boxes[i].width + SPACE_ACROSS
        room -= boxes[i].width + SPACE_ACROSS


def _width(boxes: list[Box], layer: list[int]) -> float:
    return sum(boxes[i].width for i in layer) + SPACE_ACROSS * max(0, len(layer) - 1)


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
