"""Picture and table of the layers agree with the import contract and the imports."""

import ast
import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def reached(links, start):
    """Everything that can be reached from a node of a graph."""
    found, waiting = set(), [start]
    while waiting:
        new = links.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def imports_of_package():
    """Modules that each module directly below skadm imports, read from the sources."""
    imports = {}
    for path in (ROOT / "skadm").rglob("*.py"):
        module = path.relative_to(ROOT / "skadm").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            targets = {name.split(".")[1] for name in names if name.startswith("skadm.")}
            imports.setdefault(module, set()).update(targets - {module})
    # Without the names that `from skadm import` takes.
    return {module: targets & set(imports) for module, targets in imports.items()}


@pytest.fixture(scope="module")
def picture():
    """Boxes (left, right, top) by module, and arrows, as drawn."""
    pytest.importorskip("sphinx")
    pytest.importorskip("grimp")
    spec = importlib.util.spec_from_file_location("layers", DOCS / "_ext" / "layers.py")
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    layers = drawing.read_layers()
    arrows = drawing.arrows_of(drawing.read_imports(), layers)
    svg = ElementTree.fromstring(drawing.draw(layers, arrows))
    rects = [found for found in svg.iter("rect") if "class" not in found.attrib]
    boxes = {}
    for rect, label in zip(rects, svg.iter("text"), strict=True):
        left, width, top = (float(rect.get(key)) for key in ("x", "width", "y"))
        assert left < float(label.get("x")) < left + width
        boxes[label.text] = (left, left + width, top)
    return boxes, [title.text.split(" imports ") for title in svg.iter("title")]


@pytest.fixture(scope="module")
def contract():
    api = pytest.importorskip("importlinter.api")
    options = api.read_configuration(str(ROOT / "setup.cfg"))["contracts_options"]
    (layers,) = (
        found["layers"] for found in options if found["name"] == "Arrows run one way"
    )
    return [{name.strip() for name in layer.split("|")} for layer in layers]


def test_layers_are_drawn_as_the_contract_has_them(picture, contract):
    boxes, _ = picture
    rows = {}
    for module, (left, right, top) in boxes.items():
        rows.setdefault(top, {})[module] = (left, right)
    assert [set(rows[top]) for top in sorted(rows)] == contract
    for row in rows.values():
        sides = sorted(row.values())
        assert all(right < left for (_, right), (left, _) in pairwise(sides))


def test_layers_are_listed_as_the_contract_has_them(contract):
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| layer, from the top |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == contract


def test_arrows_are_the_imports(picture):
    boxes, arrows = picture
    imports = imports_of_package()
    drawn = {}
    for module, target in arrows:
        assert boxes[module][2] < boxes[target][2], (module, target)
        assert target in imports[module], (module, target)
        drawn.setdefault(module, set()).add(target)
    # Left out are only those that follow from others, and the helpers at the bottom.
    helpers = [name for name in boxes if boxes[name][2] > boxes["data"][2]]
    for module in set(boxes) - set(helpers):
        assert reached(drawn, module) == reached(imports, module).difference(helpers)
