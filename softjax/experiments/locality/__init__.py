"""Is the trained network a local, translation-equivariant score? Compared with the optimal one (Kamb & Ganguli 2024).

`LocalField` is the exact score that sees patches of one size and no positions. Where the network agrees with it, the
theory of local scores is a theory of the network; the patch size that agrees best is the network's working range.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
