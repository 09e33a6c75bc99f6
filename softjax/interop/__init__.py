"""Models of other frameworks as JAX functions: torch modules, and folders of diffusers (extra `torch`)."""

from softjax.interop._convention import TorchNetwork as TorchNetwork
from softjax.interop._diffusers import DiffusersModel as DiffusersModel
from softjax.interop._diffusers import load_diffusers as load_diffusers
from softjax.interop._torch import from_torch as from_torch
