"""softjax: the physics of diffusion models, by simulation.

A score field plus a process gives a drift; a drift can be integrated (trajectories) or linearised (modes);
observables and fits turn either into correlation lengths, dispersion relations and critical times.

The public names stand in `__init__.pyi`; each is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
