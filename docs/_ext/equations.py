"""Equations as drawings in the page: no script or font from elsewhere is needed."""

import re
from html import escape
from typing import Any

import ziamath
from docutils import nodes
from sphinx.util import logging

_logger = logging.getLogger(__name__)
_TAG = re.compile(r"\\tag\{(.+?)\}\s*$")
_SIZE = 18  # px, beside text of 16

# Glyphs as paths: symbols would have the same name in all drawings, at any size.
ziamath.config.svg2 = False
ziamath.config.precision = 1


def _drawing(node: Any, tex: str, *, inline: bool) -> str:
    try:
        found = ziamath.Latex(tex, size=_SIZE, color="currentColor", inline=inline)
        svg = found.svg()
    except Exception as error:  # the parser raises anything
        _logger.warning("cannot draw %r: %s", tex, error, location=node)
        return ""
    style = f"vertical-align: {found.getyofst():.1f}px"
    return svg.replace(
        "<svg", f'<svg role="img" aria-label="{escape(tex)}" style="{style}"', 1
    )


def _inline(translator: Any, node: Any) -> None:
    translator.body.append(_drawing(node, node.astext(), inline=True))
    raise nodes.SkipNode


def _display(translator: Any, node: Any) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="equation"))
    tex = node.astext()
    # Numbers are those of a publication, given by hand.
    tag = _TAG.search(tex)
    tex = tex[: tag.start()] if tag else tex
    translator.body.append(f"<div>{_drawing(node, tex, inline=False)}</div>")
    translator.body.append(f"<span>({tag[1]})</span>" if tag else "")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("drawn", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
