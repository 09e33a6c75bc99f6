"""Parameters of the comparison with local scores."""

from dataclasses import dataclass, field
from typing import Literal

from softjax.experiments._shared.config import Count, CountOfMany, Seed, TimeGrid, TrainedNetwork


@dataclass(frozen=True)
class Config(TrainedNetwork):
    """A trained network against local scores of its data, window by window, and what chance would give."""

    weights: str | None = None
    """Folder of a network of Fashion-MNIST, or the name of one that ships, "edm2-fashion"; None takes a U-Net."""
    data: str | None = None
    """Folder with the four Fashion-MNIST files; looked for, and downloaded, if not given."""
    labels: tuple[int, ...] = ()
    """Classes of a class-conditional network, each against scores of its own images; empty takes all."""
    sampler: Literal["ddim", "flow"] = "ddim"
    """Deterministic DDIM, steps even on the cosine schedule; or Euler's steps of the flow on the grid below."""
    patch_sizes: tuple[int, ...] = (3, 5, 7, 11, 15)
    """Sides of the patches that the equivariant local score sees (pixels, odd)."""
    fixed_sizes: tuple[int, ...] = (15, 27)
    """Sides of the windows of local scores that know where they are (pixels, odd; cut off at the border)."""
    num_patches: Count = 20_000
    """Patches that equivariant scores compare with, drawn from the training images."""
    num_images: Count = 2000
    """Training images (of one class, if there are classes) that all local scores know; the global one knows all."""
    boundary: Literal["zeros", "periodic"] = "zeros"
    """What the equivariant score sees beyond the border; zeros, as the network."""
    principal_threshold: float = 0.02
    """Part of the Wiener filter's largest entry from which on the PCA-local score sees a pixel."""
    num_states: CountOfMany = 8
    """Noisy test images, at each time, on which denoisers are compared; in all, two of each class at least."""
    num_times: Count = 12
    """Times, from the grid below, at which they are."""
    num_samples: CountOfMany = 24
    """Images drawn by every model from the same noise; in all, two of each class at least."""
    seed: Seed = 0
    """Seed of the random key."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(num_steps=20))
    """Times of the VP process of beta 1; other processes are compared at the same noise-to-signal ratio."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(
            patch_sizes=(3, 7),
            fixed_sizes=(15,),
            num_patches=5000,
            num_images=500,
            num_states=4,
            num_times=6,
            num_samples=8,
        )
