"""Training: denoising objectives, one compiled step, averaged weights, checkpoints that survive a kill.

The public names stand in `__init__.pyi`; each is imported on first use, so that configurations stay light.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
