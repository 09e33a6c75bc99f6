"""A figure that shows itself in a notebook."""

import io

import matplotlib.figure


class Figure(matplotlib.figure.Figure):
    """A figure of Matplotlib, made without pyplot, which a notebook shows when a cell ends with it.

    * `figsize`, `layout` and all others: as for `matplotlib.figure.Figure`; sizes in inches.

    >>> figure = sj.plotting.Figure(figsize=(3, 2), layout="constrained")
    >>> figure.subplots().plot([1.0, 2.0, 4.0])[0].get_ydata().tolist()
    [1.0, 2.0, 4.0]
    """

    def _repr_png_(self) -> bytes:
        """The picture at the figure's own resolution."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=self.dpi)
        return buffer.getvalue()
