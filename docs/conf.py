"""Configuration of the documentation: ``make docs``.

Nothing is downloaded while it is built, and the pages need nothing from elsewhere.
"""

import sys
import warnings
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

import skadm

_HERE = Path(__file__).parent
sys.path += [str(_HERE / "_ext"), str(_HERE.parent)]

project = "skadm"
author = "The skadm developers"
project_copyright = author
version = release = skadm.__version__

extensions = [
    "layers",
    "equations",
    "measured",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "tables", "auto_examples/**/*.ipynb"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # an order of examples is no value that can be kept

# -- pages -------------------------------------------------------------------------------

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
default_role = "py:obj"
highlight_language = "none"  # what has no language is not Python

# -- reference ---------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings tell types, as scikit-learn's do
numpydoc_show_class_members = False  # the templates list them


def setup(app):
    """Leave out what scikit-learn's base classes bring along: it links to their docs."""

    def skip(app, what, name, found, skip, options):
        routed = name.startswith("set_") and name.endswith("_request")
        inherited = str(getattr(found, "__module__", "")).startswith("sklearn.")
        return True if routed or inherited else None

    app.connect("autodoc-skip-member", skip)


# -- gallery -----------------------------------------------------------------------------

# Networks that train for seconds flag too much. The warnings would hide the results.
warnings.filterwarnings("ignore", category=skadm.FlaggedShareWarning)

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/\w+\.py$",  # all of them run
    "within_subsection_order": ExplicitOrder(
        [
            "quick_start.py",
            "nifti_to_roc.py",
            "own_data.py",
            "grid_search.py",
            "choose_threshold.py",
            "without_labels.py",
            "compare_methods.py",
            "slice_level.py",
            "new_detector.py",
            "how_adm_works.py",
            "*",
        ]
    ),
    "image_scrapers": ("figures.scrape",),
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skadm",),
    "inspect_global_variables": True,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
}

# -- looks -------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"skadm {release}"
html_static_path = ["_static"]
html_css_files = ["skadm.css"]
html_math_renderer = "drawn"
html_show_sourcelink = False
# Only the reference and the examples have pages below them.
html_sidebars = {
    page.stem: [] for page in _HERE.glob("*.md") if page.stem not in ("api", "changelog")
}
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 4,
    "show_prev_next": False,
    "show_nav_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
