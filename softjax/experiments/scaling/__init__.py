"""Is it a transition? Finite-size scaling and Kibble-Zurek (section 9 of docs/theory.md).

The patch model on lattices of several sizes, quenched at several stochasticities: Binder cumulant, susceptibility and
correlation length over time, whether the curves of different sizes cross, whether they collapse, and how the length at
the end grows with the stochasticity.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
