"""Plain Flax NNX networks. They know nothing of diffusion processes: `NetworkField` makes a field of one."""

from softjax.networks.unet import UNet as UNet
from softjax.networks.unet import UNetConfig as UNetConfig

ARCHITECTURES = {"unet": (UNet, UNetConfig)}
"""Class and configuration of every network that can be stored, by the name in its file."""
