"""Build a release and use it as a stranger would: ``make release-check``.

Wheel and sdist are built, the wheel from the sdist, and their contents are checked. The
wheel is installed in an empty environment, outside of the checkout. There the demo runs,
mypy checks the Python of the README as a user's program, and cffconvert checks
``CITATION.cff``. Nothing is uploaded; the two files stay in ``dist``.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"

IN_WHEEL = {
    "skadm/__init__.py",
    "skadm/py.typed",
    "skadm/report/templates/patient.html",
    "skadm/data/tissue_maps/mni152_tissue_maps.npz",
    "skadm/data/tissue_maps/LICENSE",
    "skadm/training/weights/synthetic.safetensors",
    "skadm/training/weights/synthetic.md",
}
IN_SDIST = {
    *("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"),
    *("CITATION.cff", "codemeta.json"),
    *("pyproject.toml", "setup.cfg", "constraints.txt", "ruff.toml"),
    *("tests/conftest.py", "docs/conf.py", "docs/images/montage.png"),
    *("docs/_templates/autosummary/class.rst", "examples/GALLERY_HEADER.rst"),
    *("examples/quick_start.py", "benchmarks/experiments/compare.py"),
    *("benchmarks/lib/page.html", "benchmarks/lib/published.csv"),
}
MOST_BYTES = 5_000_000  # of the wheel
TYPES = """
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from skadm import ADMDetector
from skadm.data import SliceStack

assert_type(stack, SliceStack)
assert_type(maps, NDArray[np.floating])
assert_type(ADMDetector().fit(stack), ADMDetector)
"""
BY_DEMO = {"metrics.json", "roc.png", "montage.png", "model.skadm", "run.json", "maps"}


def main() -> None:
    """Run all steps; the first that fails ends the program."""
    started = time.perf_counter()
    wheel, sdist = build()
    look_into(wheel, sdist)
    with tempfile.TemporaryDirectory(prefix="skadm-release-") as place:
        use(wheel, Path(place))
    seconds = time.perf_counter() - started
    print(f"{wheel.name} and {sdist.name} are good ({seconds:.0f} s)")


def build() -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it."""
    for old in DIST.glob("skadm-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def look_into(wheel: Path, sdist: Path) -> None:
    """Check that both hold what they must, and the wheel nothing but the package."""
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "skadm").rglob("*.py")}
    require(wheel, in_wheel, IN_WHEEL | modules)
    require(sdist, in_sdist, IN_SDIST | IN_WHEEL | modules)
    info = wheel.name.rsplit("-", 3)[0] + ".dist-info/"
    strange = [name for name in in_wheel if not name.startswith(("skadm/", info))]
    built = [name for name in in_sdist if "_build/" in name or "auto_examples" in name]
    if strange or built:
        sys.exit(f"must not be released: {sorted(strange + built)[:10]}")
    if (size := wheel.stat().st_size) > MOST_BYTES:
        sys.exit(f"{wheel.name} has {size} bytes; expected at most {MOST_BYTES}")


def require(file: Path, found: set[str], expected: set[str]) -> None:
    """Fail if something is missing."""
    if missing := sorted(expected - found):
        sys.exit(f"{file.name} lacks {missing}")


def use(wheel: Path, place: Path) -> None:
    """Install the wheel in an empty environment, import it and run the demo."""
    environment = place / "venv"
    venv.create(environment, with_pip=True)
    bin = environment / ("Scripts" if os.name == "nt" else "bin")
    python = bin / "python"
    constraints = ROOT / "constraints.txt"
    wanted = f"skadm[plot] @ {wheel.as_uri()}"
    run(python, "-m", "pip", "install", "-q", "-c", constraints, wanted)
    run(python, "-m", "pip", "check")
    code = f"import skadm; assert skadm.__file__.startswith({str(environment)!r})"
    run(python, "-c", code, cwd=place)
    size = ["--n-patients", "4", "--slices", "8", "--size", "32", "--epochs", "1"]
    run(bin / "skadm", "demo", "--preset", "quick", *size, "--out", "out", cwd=place)
    require(wheel, {path.name for path in (place / "out").iterdir()}, BY_DEMO)
    run(python, "-m", "pip", "install", "-q", "-c", constraints, "mypy")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (place / "readme.py").write_text("".join(blocks) + TYPES, encoding="utf-8")
    run(python, "-m", "mypy", "--strict", "readme.py", cwd=place)
    # Last and without constraints: it needs an older jsonschema.
    run(python, "-m", "pip", "install", "-q", "cffconvert")
    run(bin / "cffconvert", "--validate", "--infile", ROOT / "CITATION.cff", cwd=place)


def run(*command: object, cwd: Path | None = None) -> None:
    """Run a command; of the checkout it sees nothing."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    print("$", *command, flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=clean, check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
