"""The figure of the patch model."""

import xarray as xr
from matplotlib.figure import Figure

from softjax.experiments._shared.summary import equilibrium_peak, growth, instability, lowest_searched
from softjax.plotting import Quantity, overview


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> Figure:
    """Dictionary and denoising strip (Fig. 3), lengths, growth and mode responses (top row of Fig. 4).

    `quantity="rayleigh"` shows the Rayleigh quotient, which changes sign, in place of the response magnitude: where the
    uniform mode's does on the simulated states, and the exact time at x = 0, which leaves fluctuations out.
    """
    crossing = instability(dataset) if quantity == "rayleigh" else None
    peak = equilibrium_peak(dataset)
    lowest = lowest_searched(dataset)
    return overview(dataset, peak, growth(dataset), quantity, "Patch score model", crossing, lowest)
