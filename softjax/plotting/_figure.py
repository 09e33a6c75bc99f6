"""A figure that shows itself in a notebook."""

import io

import matplotlib.figure


class Figure(matplotlib.figure.Figure):
    """A figure of Matplotlib, made without pyplot, which a notebook shows when a cell ends with it."""

    def _repr_png_(self) -> bytes:
        """The picture at the figure's own resolution."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()
