"""Fixtures that several test modules share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_directory():
    """Folder with real scans: `SKADM_DATA`, else `../shared/data` of the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SKADM_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real scans: {folder} is not a folder (set SKADM_DATA)")
    return folder
