"""A figure that is painted once when it is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

if TYPE_CHECKING:
    from matplotlib.backend_bases import RendererBase


class LaidOutFigure(Figure):
    """matplotlib's figure, without the painting that nobody sees.

    `savefig` paints a figure with a layout twice: first onto nothing, to lay it out, then onto the page.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Lay the figure out, or, where `savefig` has switched the layout off since, paint it."""
        layout = self.get_layout_engine()
        if self.axes and isinstance(layout, ConstrainedLayoutEngine):  # without axes there is nothing to lay out
            layout.execute(self)
        else:
            super().draw(renderer)
