r"""An EDM2 network along its deterministic sampler (App. E): Fig. 2 of the paper, for the network that ships or others.

The noise level plays the part of the time. Mode responses are those of the flow's drift $(D - x)/\sigma$, along
directions that are equal in all colours; the correlation length is the luminance's second moment.
"""

from softjax.experiments._shared.leaf import leaf

__getattr__ = leaf(__name__)
