"""Plain Flax NNX networks. They know nothing of diffusion processes: `NetworkField` makes a field of one."""

from softjax.networks._edm2_config import EDM2Config as EDM2Config
from softjax.networks._resize import preprocess as preprocess
from softjax.networks._resize import preprocess_sample as preprocess_sample
from softjax.networks.classifier import Classifier as Classifier
from softjax.networks.classifier import ClassifierConfig as ClassifierConfig
from softjax.networks.dinov2 import DINOv2 as DINOv2
from softjax.networks.dinov2 import DINOv2Config as DINOv2Config
from softjax.networks.edm2 import EDM2 as EDM2
from softjax.networks.edm2 import normalized_weights as normalized_weights
from softjax.networks.unet import UNet as UNet
from softjax.networks.unet import UNetConfig as UNetConfig

ARCHITECTURES = {
    "classifier": (Classifier, ClassifierConfig),
    "dinov2": (DINOv2, DINOv2Config),
    "edm2": (EDM2, EDM2Config),
    "unet": (UNet, UNetConfig),
}
"""Class and configuration of every network that can be stored, by the name in its file."""
