"""Models of other frameworks as JAX functions: torch modules, and folders of diffusers (extra `torch`)."""

from softjax.interop._convention import TorchNetwork as TorchNetwork
from softjax.interop._torch import from_torch as from_torch
