"""The figure of the trained U-Net."""

import xarray as xr
from matplotlib.figure import Figure

from softjax.experiments._shared.summary import equilibrium_peak, growth, lowest_searched
from softjax.plotting import Quantity, equivariance_panels, overview


def figure(dataset: xr.Dataset, quantity: Quantity = "magnitude") -> Figure:
    """Samples, a denoising strip, lengths, growth and mode responses; below, how equivariant the network is."""
    below = equivariance_panels if "effective_radius" in dataset else None
    peak = equilibrium_peak(dataset)
    lowest = lowest_searched(dataset)
    return overview(dataset, peak, growth(dataset), quantity, "U-Net on Fashion-MNIST", lowest=lowest, below=below)
