"""The figure of the patch model."""

import xarray as xr
from matplotlib.figure import Figure

from softjax.experiments._shared.summary import equilibrium_peak, growth
from softjax.plotting import Quantity, overview


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> Figure:
    """Dictionary and denoising strip (Fig. 3), lengths, growth and mode responses (top row of Fig. 4).

    `quantity="rayleigh"` shows the Rayleigh quotient, which changes sign, in place of the response magnitude.
    """
    return overview(dataset, equilibrium_peak(dataset), growth(dataset), quantity, title="Patch score model")
