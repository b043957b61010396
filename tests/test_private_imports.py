"""What scikit-learn keeps private is taken in one module, so that its change breaks one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
THE_MODULE = ROOT / "skadm" / "_sklearn.py"


def private_imports(source):
    """Names of scikit-learn that a source imports, and that begin with an underscore."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):  # sklearn.utils._something
            names.append(ast.unparse(node))
    return {
        name
        for name in names
        if name.startswith("sklearn.")
        and any(part.startswith("_") and part[:2] != "__" for part in name.split("."))
    }


@pytest.mark.parametrize(
    "source",
    [
        "from sklearn.utils._param_validation import Interval",
        "from sklearn.base import BaseEstimator, _fit_context",
        "import sklearn.utils._indexing as indexing",
        "def f():\n    from sklearn.utils import _safe_indexing",
        "import sklearn\nsklearn.utils._safe_indexing(X, 0)",
    ],
)
def test_private_imports_are_seen(source):
    assert private_imports(source)


@pytest.mark.slow
def test_private_names_of_scikit_learn_are_in_one_module():
    assert private_imports(THE_MODULE.read_text(encoding="utf-8"))
    folders = ("skadm", "benchmarks", "examples", "docs")
    files = {path for folder in folders for path in (ROOT / folder).rglob("*.py")}
    private = {
        str(path.relative_to(ROOT)): names
        for path in files - {THE_MODULE}
        if (names := private_imports(path.read_text(encoding="utf-8")))
    }
    assert private == {}
