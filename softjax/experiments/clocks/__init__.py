"""Every critical time of one patch model, on one axis (section 8 of docs/theory.md).

Drift instability in mean field, corrected for fluctuations, and measured; speciation; peaks of the two lengths: the
literature has several "critical times", and this is how far apart they are.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
