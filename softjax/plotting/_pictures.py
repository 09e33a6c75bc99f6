"""Configurations as pictures."""

import numpy as np
from matplotlib.axes import Axes

from softjax.plotting._style import FIELD_LIMITS


def image(axis: Axes, state: np.ndarray, sigma: float = 0.0) -> None:
    """A state as a picture, scaled for noise of level `sigma` on data of size 1.

    * `axis`: of Matplotlib, drawn on;
    * `state`: (y, x), or (y, x, channels) grey or in colours, in units of the data;
    * `sigma`: its noise level, in units of the data.

    >>> figure = sj.plotting.Figure()
    >>> axis = figure.subplots()
    >>> sj.plotting.image(axis, np.ones((4, 4)))
    >>> axis.images[0].get_array().shape
    (4, 4)
    """
    scaled = state / np.hypot(1, sigma)
    if scaled.ndim == 3 and scaled.shape[-1] == 3:
        axis.imshow(np.clip(0.5 + 0.5 * scaled, 0, 1), interpolation="nearest")
    else:
        axis.imshow(scaled.reshape(scaled.shape[:2]), **FIELD_LIMITS)
    axis.set_axis_on()
    axis.spines[:].set(visible=True, linewidth=0.5, color="0.4")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
