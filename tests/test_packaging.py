"""What the package declares: extras, and names for type checkers."""

import ast
import re
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import skadm

ROOT = Path(__file__).parents[1]


def test_one_table_lists_all_extras():
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")]
    (table,) = (
        page.partition("| extra | adds |")[2] for page in pages if "| extra |" in page
    )
    rows = table.partition("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)
    assert sorted(listed) == sorted(setup["options.extras_require"])


def test_type_checkers_see_what_is_imported_lazily():
    tree = ast.parse(Path(skadm.__file__).read_text(encoding="utf-8"))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert set(seen) == set(skadm.__all__) - {"__version__"}
    for name, module in seen.items():
        assert getattr(skadm, name) is getattr(import_module(module), name)
