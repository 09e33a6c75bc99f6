"""Linear response of a drift: what its Jacobian does to Fourier modes. Works for any callable x -> drift."""

from softjax.jacobian._modes import ModeResponse as ModeResponse
from softjax.jacobian._modes import mode_response as mode_response
from softjax.jacobian._probe import ModeProbe as ModeProbe
