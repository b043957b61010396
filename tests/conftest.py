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
