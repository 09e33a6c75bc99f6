"""Parameters of the trainings. Nothing heavy is imported here: the command line builds its help from this file.

Defaults are the paper's (App. D.4); where its text lost a number, softjax's choice.
"""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Optimisation:
    """How the weights move.

    >>> sj.training.Optimisation(epochs=2, batch_size=32).learning_rate
    0.001
    """

    epochs: int = 30
    """Passes over the training images. The only setting that may be changed on --resume."""
    batch_size: int = 256
    """Images per step, over all devices."""
    learning_rate: float = 1e-3
    """Largest step of AdamW: reached after `warmup_steps`, held, then lowered linearly to 0 over `cooldown`."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from 0."""
    cooldown: float = 0.3
    """Last part of the steps, as a fraction, over which it falls to 0."""
    weight_decay: float = 1e-4
    """Of AdamW, per unit of learning rate."""
    gradient_clipping: float = 1.0
    """Largest norm of a gradient."""
    average_width: float = 0.1
    """Standard deviation of the averaging of the weights, which is what is kept, in units of the steps so far."""
    microbatch: int = 0
    """Images whose activations are in memory at once, a divisor of the batch on each device; 0 chooses 16 on CPUs,
    where that is fastest (the largest common divisor of 16 and the batch), and the whole batch elsewhere."""
    checkpoint_seconds: float = 60.0
    """Longest time whose work a kill may lose."""


@dataclass(frozen=True)
class FashionTraining:
    """The U-Net on Fashion-MNIST (App. D), noise prediction under VP with beta = 1.

    * `optimisation`: how the weights move; what the other fields hold stands below each.

    >>> config = sj.training.FashionTraining(variant="grey", optimisation=sj.training.Optimisation(epochs=2))
    >>> config.threshold, config.optimisation.epochs
    (32, 2)
    """

    variant: Literal["binary", "grey"] = "binary"
    """Pixels as spins -1 and +1 (the paper's Fig. 4), or grey values in between (Fig. 8)."""
    threshold: int = 32
    """Grey level, 1 to 255, from which on a pixel is an up spin."""
    widths: tuple[int, ...] = (64, 128, 128)
    """Channels on each resolution, finest first."""
    num_blocks: int = 1
    """Residual blocks of the encoder and of the decoder on each resolution."""
    num_middle_blocks: int = 2
    """Residual blocks of the bottleneck."""
    padding: Literal["zeros", "circular"] = "zeros"
    """Border of the convolutions: the paper's zeros, or circular for exact translation equivariance."""
    num_classes: int = 0
    """10 trains a network with labels, each left out with probability 0.1; 0 one without."""
    t_min: float = 1e-3
    """Smallest training time (dimensionless)."""
    t_max: float = 8.0
    """Largest training time (dimensionless)."""
    weight_limit: float = 1.0
    """Times weigh as min(1/alpha^2, weight_limit) in the loss. 1, the paper's, makes all alike; 20 lets the network
    learn more where images take shape. The losses on the test split are always with 1."""
    log_t_mean: float = 0.0
    """Mean of ln t, if `log_t_std` is given. Images take shape near t = 1; outlines become sharp below."""
    log_t_std: float | None = None
    """Standard deviation of ln t; None, the paper's, draws ln t uniformly."""
    posterior_targets: bool = False
    """Learn the mean noise given the noisy image, exact from all training images, in place of the noise that was drawn:
    the same gradient on average, with less noise above t = 2. The printed loss is then smaller; no labels."""
    seed: int = 0
    """Seed of the initial weights, of the order of the images and of all noise."""
    start: str | None = None
    """Folder of a network to go on from, in place of random weights; its epochs count."""
    optimisation: Optimisation = field(default_factory=Optimisation)


@dataclass(frozen=True)
class ClassifierTraining:
    """A small classifier of Fashion-MNIST, which judges samples and guidance.

    * `optimisation`: how the weights move; what the other fields hold stands below each.

    >>> sj.training.ClassifierTraining(variant="grey").optimisation.epochs
    12
    """

    variant: Literal["binary", "grey"] = "binary"
    """The pixels it is trained on: spins -1 and +1, or grey values in between."""
    threshold: int = 32
    """Grey level, 1 to 255, from which on a pixel is an up spin."""
    shift: int = 0
    """Largest number of pixels by which images are moved."""
    mirror: bool = True
    """Show half of the images with left and right exchanged."""
    erase: float = 0.5
    """Probability of painting over a rectangle of an image."""
    seed: int = 0
    """Seed of the initial weights, of the order of the images and of how they are changed."""
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(
            epochs=12, batch_size=128, microbatch=64, learning_rate=3e-3, weight_decay=1e-2, cooldown=0.8
        )
    )


@dataclass(frozen=True)
class EDM2Training:
    """A small class-conditional EDM2 on grey Fashion-MNIST, padded to 32 x 32, with the loss and weights of EDM2.

    * `optimisation`: how the weights move; what the other fields hold stands below each.

    >>> config = sj.training.EDM2Training(model_channels=8)
    >>> config.model_channels, config.sigma_data
    (8, 0.87)
    """

    model_channels: int = 16
    """Channels on the finest level."""
    channel_mult: tuple[int, ...] = (1, 2, 4)
    """Channels on each resolution in units of `model_channels`, finest first."""
    num_blocks: int = 1
    """Encoder blocks on each resolution."""
    label_dropout: float = 0.1
    """Probability of training an image without its label, which teaches the network to do without."""
    log_sigma_mean: float = -0.4
    """Mean of ln sigma, the noise levels of the training (sigma in units of the data)."""
    log_sigma_std: float = 1.6
    """Standard deviation of ln sigma."""
    sigma_data: float = 0.87
    """Root mean square of the data, which the preconditioning scales to 1."""
    seed: int = 0
    """Seed of the initial weights, of the order of the images and of all noise."""
    start: str | None = None
    """Folder of a network to go on from, in place of random weights; its epochs count."""
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(
            epochs=6, batch_size=64, learning_rate=1e-2, weight_decay=0.0, cooldown=0.5
        )
    )
