"""The empirical score of two global patterns (section 6): the middle row of Fig. 4.

The global score couples all sites through one projection. At its critical time the direction of the pattern turns
unstable, a bifurcation in one dimension; Fourier modes do not soften and the inferred length stays flat.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
