"""Picture of the layers of the package, drawn from its imports at every build.

Rows are the layers of the import contract in ``setup.cfg``. Arrows are imports, except
those that follow from other arrows and those of the private modules at the bottom. Modules
stand near what they import and what imports them, as in Sugiyama et al., IEEE Trans. Syst.
Man Cybern. 11 (1981) 109-125.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from configparser import ConfigParser
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import grimp
import numpy as np
from docutils import nodes
from scipy.optimize import isotonic_regression
from sphinx.util.docutils import SphinxDirective

PACKAGE = "skadm"
SETUP = Path(__file__).parents[2] / "setup.cfg"

WIDTH, STEP, HEIGHT = 760, 64, 24  # px: about the picture's, from row to row, a box's
LETTER, PADDING, GAP = 7.3, 14, 12  # px: of the font, in a box, between boxes
SWEEPS = 30


def read_layers(path: Path = SETUP) -> list[list[str]]:
    """Modules of each layer of the contract, from the top."""
    parser = ConfigParser()
    parser.read(path, encoding="utf-8")
    lines = parser["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip() for name in line.split("|")] for line in lines if line.strip()]


def read_imports(package: str = PACKAGE) -> dict[str, set[str]]:
    """Modules that each module of a package imports; those below it count as part of it."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True)
    children = graph.find_children(package)
    for child in children:
        graph.squash_module(child)
    found = {
        child: (graph.find_modules_directly_imported_by(child) & children) - {child}
        for child in children
    }

    def name(module: str) -> str:
        return module.removeprefix(f"{package}.")

    return {name(child): set(map(name, imported)) for child, imported in found.items()}


def arrows_of(
    imports: Mapping[str, set[str]], layers: Sequence[Sequence[str]]
) -> list[tuple[str, str]]:
    """Imports to be drawn, as pairs of modules. There must be no cycle."""
    helpers: set[str] = set()
    for layer in reversed(layers):
        if not all(module.startswith("_") for module in layer):
            break
        helpers.update(layer)

    def reached(module: str) -> set[str]:
        return imports[module].union(*map(reached, imports[module]))

    return sorted(
        (module, target)
        for layer in layers
        for module in layer
        for target in imports[module] - helpers.union(*map(reached, imports[module]))
    )


def place(
    layers: Sequence[Sequence[str]], arrows: Sequence[tuple[str, str]]
) -> tuple[dict[Any, float], dict[tuple[str, str], list[Any]]]:
    """Centre of each module (px), and the points that each arrow passes from row to row.

    Where an arrow crosses a row, it has a place in it, as if it were a narrow module.
    """
    row_of = {module: row for row, layer in enumerate(layers) for module in layer}
    rows: list[list[Any]] = [list(layer) for layer in layers]
    paths = {}
    neighbours = defaultdict(list)
    for arrow in arrows:
        start, end = arrow
        between = [(arrow, row) for row in range(row_of[start] + 1, row_of[end])]
        for point in between:
            rows[point[1]].append(point)
        paths[arrow] = [start, *between, end]
        for upper, lower in pairwise(paths[arrow]):
            neighbours[upper].append(lower)
            neighbours[lower].append(upper)

    centre = {}
    for row in rows:
        centre |= zip(row, np.linspace(0, WIDTH, len(row) + 2)[1:-1])
    for sweep in range(SWEEPS):
        for row in rows if sweep % 2 else rows[::-1]:
            wanted = {
                item: np.mean([centre[other] for other in neighbours[item]] or WIDTH / 2)
                for item in row
            }
            row.sort(key=lambda item: wanted[item])
            widths = np.array([box_width(item) for item in row]) + GAP
            # The nearest places to those wanted at which nothing overlaps.
            offsets = np.cumsum(widths) - widths / 2
            free = isotonic_regression([wanted[item] for item in row] - offsets).x
            centre |= zip(row, free + offsets)
    return centre, paths


def box_width(item: Any) -> float:
    """Width of a module's box (px); an arrow that crosses the row has none."""
    return LETTER * len(item) + PADDING if isinstance(item, str) else 0.0


def draw(layers: Sequence[Sequence[str]], arrows: Sequence[tuple[str, str]]) -> str:
    """The picture as SVG, in the colours of the page."""
    row_of = {module: row for row, layer in enumerate(layers) for module in layer}
    centre, paths = place(layers, arrows)
    left = min(x - box_width(item) / 2 for item, x in centre.items()) - GAP
    right = max(x + box_width(item) / 2 for item, x in centre.items()) + GAP
    parts = [
        f'<rect class="layer" x="{left:.0f}" y="{row * STEP - 8}" '
        f'width="{right - left:.0f}" height="{HEIGHT + 16}"/>'
        for row in range(len(layers))
    ]
    for (start, end), path in paths.items():
        line = f"M{centre[start]:.0f} {row_of[start] * STEP + HEIGHT}"
        for row, (upper, lower) in enumerate(pairwise(path), row_of[start] + 1):
            top, bottom = (row - 1) * STEP + HEIGHT, row * STEP
            middle = (top + bottom) / 2
            line += f"C{centre[upper]:.0f} {middle} {centre[lower]:.0f} {middle} "
            line += f"{centre[lower]:.0f} {bottom}"
            line += f"v{HEIGHT}" if lower != end else ""
        parts.append(f'<path d="{line}"><title>{start} imports {end}</title></path>')
    for module, row in row_of.items():
        width, y = box_width(module), row * STEP
        parts.append(
            f'<rect x="{centre[module] - width / 2:.0f}" y="{y}" width="{width:.0f}" '
            f'height="{HEIGHT}" rx="4"/><text x="{centre[module]:.0f}" '
            f'y="{y + 16}">{module}</text>'
        )
    height = (len(layers) - 1) * STEP + HEIGHT + 16
    alt = "Layers of the package, from the top: " + "; ".join(map(", ".join, layers))
    return (
        f'<svg role="img" aria-label="{escape(alt)}" width="{right - left:.0f}" '
        f'height="{height}" viewBox="{left:.0f} -8 {right - left:.0f} {height}">'
        + "".join(parts)
        + "</svg>"
    )


class ImportLayers(SphinxDirective):
    """``import-layers``: the picture."""

    def run(self) -> list[nodes.Node]:
        """Draw it; the page is read at every build, since any module may have changed."""
        self.env.note_reread()
        layers = read_layers()
        svg = draw(layers, arrows_of(read_imports(), layers))
        return [nodes.raw("", f'<div class="layers">{svg}</div>', format="html")]


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("import-layers", ImportLayers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
