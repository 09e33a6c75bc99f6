"""Parameters of the comparison with local scores."""

from dataclasses import dataclass, field
from typing import Literal

from softjax.experiments._shared.config import Count, Seed, TimeGrid, TrainedNetwork


@dataclass(frozen=True)
class Config(TrainedNetwork):
    """The trained U-Net against the optimal local score of its data, patch size by patch size."""

    data: str | None = None
    """Folder with the four Fashion-MNIST files; looked for, and downloaded, if not given."""
    patch_sizes: tuple[int, ...] = (3, 5, 7, 11, 15)
    """Sides of the patches that the local score sees (pixels, odd)."""
    num_patches: Count = 100_000
    """Patches that it compares with, drawn from the training images."""
    num_images: Count = 2000
    """Training images that they are drawn from."""
    boundary: Literal["zeros", "periodic"] = "zeros"
    """What the local score sees beyond the border; zeros, as the network."""
    num_states: Count = 8
    """Noisy test images, at each time, on which the two are compared."""
    num_times: Count = 12
    """Times, from the grid below, at which they are."""
    num_samples: Count = 8
    """Images drawn by both from the same noise along the probability flow."""
    seed: Seed = 0
    """Seed of the random key."""
    time: TimeGrid = field(default_factory=lambda: TimeGrid(num_steps=20))

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(patch_sizes=(3, 7, 15), num_patches=20_000, num_states=4, num_times=8, num_samples=4)
