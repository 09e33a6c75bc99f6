r"""Guidance in a short window of noise levels (App. F): Fig. 5 of the paper, and beyond it the whole response curve.

First the critical noise level $\sigma_c$ is measured on unguided trajectories of all classes; it is fixed before
anything is guided. Then every trial, a class and a start, is sampled under several conditions that differ in the
guidance weight only: none, constant, a pulse at $\sigma_c$, an equal pulse at a random level, and a row of pulses
of equal dose whose centres cover all noise levels.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
