"""Fixtures that several test modules share."""

import gc
import os
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--bfloat16",
        choices=("auto", "no", "yes"),
        default="auto",
        help="whether the processor counts as one that computes bfloat16 itself",
    )


def pytest_configure(config):
    chosen = config.getoption("--bfloat16")
    if chosen != "auto":
        import skadm.neural as module

        module.computes_bfloat16 = lambda device: chosen == "yes"


# Files that take longest, in this order: one of them at the end would leave the other
# workers idle. What a file takes: `make test` lists the longest tests.
LONGEST = (
    "test_contract.py",
    "test_prepare.py",
    "test_speed.py",
    "test_wrapper_contract.py",
    "test_benchmarks.py",
    "test_scaling_docs.py",
    "test_pretrained.py",
    "test_compare.py",
    "test_cli.py",
    "test_processes.py",
    "test_checkpoints.py",
    "test_io.py",
    "test_fanogan.py",
    "test_scale.py",
)


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONGEST)))


def pytest_collection_finish():
    # Modules and tests stay to the end: no search for garbage has to go through them.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data_directory():
    """Folder with real scans: `SKADM_DATA`, else `../shared/data` of the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKADM_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} is not a folder (set SKADM_DATA)")
    return folder


@pytest.fixture(scope="module")
def quick_bias_field():
    """Few iterations of N4, which takes longest, for phantoms without a bias field."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skadm.raw._bias_field._ITERATIONS", (2, 2, 2, 2))
        yield
