"""The analytic patch model (section 6, App. C): Fig. 3 and the top row of Fig. 4.

Low-frequency modes of the reverse drift soften together near the critical time, the equilibrium correlation length
inferred from them peaks; domains form later.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
