"""A U-Net trained on Fashion-MNIST (section 7, App. D): the bottom row of Fig. 4 and, on grey images, Fig. 8.

The probes of the patch model on a network that learned from real data, and beyond the paper how far that
network is from a local, translation-equivariant field: leakage of its Fourier modes, growth rates over the whole
Brillouin zone, and the reach of its Jacobian.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
