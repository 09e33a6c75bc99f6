"""The figure of the two-pattern empirical score."""

import xarray as xr
from matplotlib.figure import Figure

from softjax.experiments._shared.summary import equilibrium_peak, growth, lowest_searched
from softjax.plotting import Quantity, overview


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> Figure:
    """Patterns and denoising strip, lengths, growth and mode responses (middle row of Fig. 4).

    `quantity="rayleigh"` shows the Rayleigh quotient, which changes sign, in place of the response magnitude.
    """
    peak = equilibrium_peak(dataset)
    lowest = lowest_searched(dataset)
    return overview(dataset, peak, growth(dataset), quantity, "Empirical score of two patterns", lowest=lowest)
