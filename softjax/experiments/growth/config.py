"""Parameters of growth along the path."""

from dataclasses import dataclass, field
from typing import Literal

import tyro

from softjax.experiments._shared.config import (
    NO_RESULT,
    AnyTarget,
    Count,
    CountOfMany,
    CountOrNone,
    PatchModel,
    Probe,
    Seed,
)


@dataclass(frozen=True)
class Config(AnyTarget):
    """Growth along the path, of the patch model or of any denoiser that `softjax probe` takes."""

    target: tyro.conf.Positional[str] = "patch"
    """patch, the model of --model; a network's folder, the name of one that ships (fashion-binary, fashion-grey,
    edm2-fashion), or package.module:name, a field or a callable (t, x) or (t, x, label) on one configuration."""
    kind: Literal["auto", "sde", "flow"] = "auto"
    """What is followed: the reverse SDE or the probability flow; auto takes the flow on EDM's clock only."""
    num_trajectories: CountOfMany = 8
    """Independent trajectories."""
    num_steps: CountOrNone = 0
    """Euler steps of a trajectory; 0 takes 200 of the patch model, else 100, and 48 on EDM's clock."""
    t_max: float = 0.0
    """Where trajectories start, in the process's time; 0 takes what suits the process."""
    t_min: float = 0.0
    """Where they end, positive; 0 takes what suits the process."""
    num_tangents: Count = 4
    """Directions that grow the most until the end, and their exponents."""
    iterations: Count = 2
    """Rounds of the search for them, each back and forth along the path."""
    num_probes: CountOfMany = 16
    """Noise vectors pulled back from the end, for the amplification of the shells."""
    seed: Seed = 0
    """Seed of the random key; it fixes the patch model and every trajectory."""
    model: PatchModel = field(default_factory=PatchModel)
    """Of the target "patch"."""
    probe: Probe = field(default_factory=lambda: Probe(max_shell=4, kind="isotropic"))
    chunk: CountOrNone = field(default=0, metadata=NO_RESULT)
    """Trajectories side by side in memory; 0 fits them to the device's."""

    @classmethod
    def quick(cls) -> "Config":
        """A small version for a first look."""
        return cls(
            num_steps=100, num_probes=8, model=PatchModel(grid_size=24), probe=Probe(max_shell=3, kind="isotropic")
        )
