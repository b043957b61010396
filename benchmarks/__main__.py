"""Run a benchmark by its name: ``python -m benchmarks NAME [options]``."""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDERS = ("experiments", "speed")


def find_scripts() -> dict[str, Path]:
    """Find the file of each benchmark, folder by folder."""
    here = Path(__file__).parent
    paths = [path for name in FOLDERS for path in sorted((here / name).glob("[!_]*.py"))]
    return {path.stem: path for path in paths}


def summary_of(path: Path) -> str:
    """Return the first line of a script's docstring without importing it."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]


def list_scripts(scripts: dict[str, Path]) -> str:
    """List the benchmarks, one line each."""
    width = max(map(len, scripts)) + 2
    lines = ["usage: python -m benchmarks NAME [options]"]
    for folder in FOLDERS:
        lines += ["", f"{folder}:"]
        chosen = {n: path for n, path in scripts.items() if path.parent.name == folder}
        lines += [f"  {name:<{width}}{summary_of(path)}" for name, path in chosen.items()]
    return "\n".join([*lines, "", "python -m benchmarks NAME --help lists its options."])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark that the first argument names; without one, list them."""
    argv = list(sys.argv[1:] if argv is None else argv)
    scripts = find_scripts()
    if not argv or argv[0] in ("-h", "--help"):
        print(list_scripts(scripts))
        return 0
    name, *options = argv
    if name not in scripts:
        print(f"no benchmark {name!r}\n\n{list_scripts(scripts)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"benchmarks.{scripts[name].parent.name}.{name}")
    try:
        return module.main(options) or 0
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
