"""The figures' shared style and panels. Everything is drawn from a dataset; no model is run anew."""

from softjax.plotting._clocks import clock_figure as clock_figure
from softjax.plotting._edm2 import edm2_figure as edm2_figure
from softjax.plotting._locality import locality_figure as locality_figure
from softjax.plotting._overview import Quantity as Quantity
from softjax.plotting._overview import overview as overview
from softjax.plotting._peak import equilibrium_peak as equilibrium_peak
from softjax.plotting._peak import median_peak as median_peak
from softjax.plotting._pulse import pulse_figure as pulse_figure
from softjax.plotting._theory import theory_figure as theory_figure
