"""The theory of the two-pattern patch model in four pictures, with the simulation beside it (sections 2-5, App. A).

The dispersion relation over time with its zero line; the growth rate of the uniform mode in mean field, with
fluctuations, and measured; the pitchfork of the mean-field state; the structure factor that the closure predicts.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
