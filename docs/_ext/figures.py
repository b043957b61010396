"""Figures of the examples: those that a variable holds, which pyplot need not know of."""

from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_drawn: WeakSet[Figure] = WeakSet()


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that are new after a block of an example.

    Parameters
    ----------
    block : tuple
        The block; not looked at.
    block_vars : dict
        What sphinx-gallery knows of it: its variables, and paths for images.
    gallery_conf : dict
        Configuration of the gallery.

    Returns
    -------
    str
        The images as reStructuredText.
    """
    paths = []
    for value in list(block_vars["example_globals"].values()):
        if isinstance(value, Figure) and value not in _drawn:
            _drawn.add(value)
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1], dpi=100)
    return figure_rst(paths, gallery_conf["src_dir"])
