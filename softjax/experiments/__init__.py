"""The paper's experiments, each a module with `run(config)`, `figure(dataset)` and `summary(dataset)`.

Their parameters are the dataclasses in `softjax.experiments.configs`, which import nothing heavy. The names stand in
`__init__.pyi`; each is imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
