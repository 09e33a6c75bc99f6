"""The figures' shared style and panels. Everything is drawn from what is given; nothing is computed here."""

from softjax.plotting._figure import Figure as Figure
from softjax.plotting._maps import sweep_figure as sweep_figure
from softjax.plotting._overview import Quantity as Quantity
from softjax.plotting._overview import overview as overview
from softjax.plotting._peak import mark_peak as mark_peak
from softjax.plotting._pictures import image as image
from softjax.plotting._rates import rate_panel as rate_panel
from softjax.plotting._softening import length_curves as length_curves
from softjax.plotting._softening import shell_curves as shell_curves
from softjax.plotting._style import EQUILIBRIUM as EQUILIBRIUM
from softjax.plotting._style import EXACT as EXACT
from softjax.plotting._style import FIELD_LIMITS as FIELD_LIMITS
from softjax.plotting._style import NULL as NULL
from softjax.plotting._style import SHELLS as SHELLS
from softjax.plotting._style import STYLE as STYLE
from softjax.plotting._style import legend_above as legend_above
from softjax.plotting._style import shell_colors as shell_colors
from softjax.plotting._zone import equivariance_panels as equivariance_panels
