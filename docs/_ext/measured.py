"""Tables that commands have measured: the build fails if one that a page shows is stale."""

from pathlib import Path
from typing import Any

from sphinx.errors import ExtensionError

from benchmarks.experiments.tables import tables
from benchmarks.lib.tables import stale


def check(app: Any) -> None:
    """Refuse to build pages with stale tables; name the commands that mend them."""
    if found := stale(Path(app.srcdir), tables()):
        raise ExtensionError("stale tables:\n" + "\n".join(found))


def setup(app: Any) -> dict[str, Any]:
    """Check before any page is read."""
    app.connect("builder-inited", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
