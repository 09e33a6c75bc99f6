"""Growth along the path (theory.md section 11): what grows until the end, and who foretells it.

Tangents and Fourier shells are carried along each trajectory of the patch model, or of any denoiser, by the derivatives
of the integrator's own steps, and held against the responses that a snapshot shows.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
