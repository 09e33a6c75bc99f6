"""Linear response of a drift: what its Jacobian does to Fourier modes, and its own modes. Takes any callable."""

from softjax.jacobian._channels import channel_drift as channel_drift
from softjax.jacobian._dispersion import Dispersion as Dispersion
from softjax.jacobian._dispersion import dispersion as dispersion
from softjax.jacobian._dispersion import local_dispersion as local_dispersion
from softjax.jacobian._dispersion import local_kernel as local_kernel
from softjax.jacobian._krylov import Eigenpairs as Eigenpairs
from softjax.jacobian._krylov import leading_modes as leading_modes
from softjax.jacobian._leakage import ModeLeakage as ModeLeakage
from softjax.jacobian._leakage import mode_leakage as mode_leakage
from softjax.jacobian._lyapunov import PathGrowth as PathGrowth
from softjax.jacobian._lyapunov import lyapunov as lyapunov
from softjax.jacobian._modes import ModeResponse as ModeResponse
from softjax.jacobian._modes import mode_response as mode_response
from softjax.jacobian._probe import ModeProbe as ModeProbe
from softjax.jacobian._radius import EffectiveRadius as EffectiveRadius
from softjax.jacobian._radius import effective_radius as effective_radius
from softjax.jacobian._zone import ZoneProbe as ZoneProbe
from softjax.jacobian._zone import ZoneResponse as ZoneResponse
