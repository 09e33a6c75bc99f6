"""Any denoiser under the microscope: where its low modes soften, how local and equivariant it is, its softest modes.

`softjax.probe` is the same for a field at hand.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
