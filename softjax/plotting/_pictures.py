"""Configurations as pictures."""

import numpy as np
from matplotlib.axes import Axes

from softjax.plotting._style import FIELD_LIMITS


def image(axis: Axes, state: np.ndarray, sigma: float = 0.0) -> None:
    """A state (y, x), or (y, x, channels) grey or in colours, scaled for noise of level `sigma` on data of size 1."""
    scaled = state / np.hypot(1, sigma)
    if scaled.ndim == 3 and scaled.shape[-1] == 3:
        axis.imshow(np.clip(0.5 + 0.5 * scaled, 0, 1), interpolation="nearest")
    else:
        axis.imshow(scaled.reshape(scaled.shape[:2]), **FIELD_LIMITS)
    axis.set_axis_on()
    axis.spines[:].set(visible=True, linewidth=0.5, color="0.4")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
