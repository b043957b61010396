"""The Python of docs/scaling.md runs, block after block."""

import os
import re
import secrets
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_scale import write_scans

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"

pytestmark = pytest.mark.slow


# Not imported here: Ray keeps the token of its first import for all tests of the process.
@pytest.mark.skipif(
    not (find_spec("distributed") and find_spec("ray")), reason="pip install skadm[scale]"
)
def test_page(tmp_path):
    write_scans(tmp_path / "scans", 2, 6, 32)
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) >= 6
    environment = os.environ | {
        "PYTHONPATH": str(PAGE.parents[1]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    # Not from a file, which every worker would import, and so run.
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    maps = {folder.name: folder for folder in (tmp_path / "maps").iterdir()}
    assert set(maps) == {"one", "workstation", "dask", "ray"}
    for name in ("phantom-000_anomaly.nii.gz", "phantom-001_anomaly.nii.gz"):
        assert len({(folder / name).read_bytes() for folder in maps.values()}) == 1
