"""The sizes of EDM2 (arXiv 2312.02696)."""

from dataclasses import dataclass
from typing import Any, Literal

from softjax._checks import require, require_option
from softjax.networks._bounds import (
    MAX_BLOCKS,
    MAX_CLASSES,
    MAX_SIZE,
    normalise_counts,
    require_numbers,
)

_SIZES = {"xs": (128, 0.0), "s": (192, 0.0), "m": (256, 0.1), "l": (320, 0.1), "xl": (384, 0.1), "xxl": (448, 0.1)}


@dataclass(frozen=True)
class EDM2Config:
    """Everything that fixes the architecture; by default EDM2-S for ImageNet at 64 x 64.

    >>> config = sj.networks.EDM2Config.preset("xs", label_dim=0)
    >>> config.widths, config.resolutions, config.stride
    ((128, 256, 384, 512), (64, 32, 16, 8), 8)
    """

    img_resolution: int = 64
    """Side of the training images. Others whose sides are multiples of `stride` pass too."""
    img_channels: int = 3
    """Channels of the image."""
    label_dim: int = 1000
    """Classes, 0 for an unconditional network."""
    model_channels: int = 192
    """Unit of all widths."""
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    """Channels of each level in units of `model_channels`, finest first; each further one halves both sides."""
    channel_mult_noise: int | None = None
    """Fourier features of the noise level in units of `model_channels`; None for those of the finest level."""
    channel_mult_emb: int | None = None
    """Width of the embedding in units of `model_channels`; None for that of the widest level."""
    num_blocks: int = 3
    """Encoder blocks of each level; the decoder has one more."""
    attn_resolutions: tuple[int, ...] = (16, 8)
    """Sides of the levels with attention, for images of side `img_resolution`."""
    channels_per_head: int = 64
    """Channels of an attention head. Narrower levels have no attention."""
    label_balance: float = 0.5
    """Share of the label in the embedding."""
    concat_balance: float = 0.5
    """Share of the skip connection in the decoder's inputs."""
    res_balance: float = 0.3
    """Share of the residual branch in a block."""
    attn_balance: float = 0.3
    """Share of the attention in a block."""
    clip_act: float | None = 256.0
    """Bound of the activations after each block, None for no bound."""
    resample_filter: tuple[float, ...] = (1.0, 1.0)
    """Taps of the filter between levels, an even number; only their ratios matter."""
    sigma_data: float = 0.5
    """Standard deviation of the data."""
    logvar_channels: int = 128
    """Fourier features of the log variance."""
    dropout: float = 0.0
    """Probability of dropping a channel value in training, which is when the network gets a `key`."""
    compute_dtype: Literal["float16", "bfloat16"] | None = None
    """Precision inside the blocks; None for that of the image. Parameters, embeddings and D keep theirs.

    On small random networks float16 moves D by 1e-3 of its norm, bfloat16 by 1e-2; single precision by 5e-7.
    """

    def __post_init__(self) -> None:
        """Refuses what no network can have."""
        if self.compute_dtype is not None:
            require_option("compute_dtype", self.compute_dtype, ("float16", "bfloat16"))
        self._require_types()
        optional = (self.channel_mult_noise, self.channel_mult_emb)
        sizes = (self.img_resolution, self.img_channels, self.model_channels, self.num_blocks)
        sizes += (self.channels_per_head, self.logvar_channels, *self.channel_mult)
        sizes += tuple(size for size in optional if size is not None)
        require(min(sizes) >= 1 and len(self.channel_mult) >= 1, f"sizes must be at least 1, got {self}.")
        require(self.label_dim >= 0, f"label_dim must not be negative, got {self.label_dim}.")
        require(
            self.img_resolution % self.stride == 0,
            f"img_resolution must be a multiple of {self.stride}, got {self.img_resolution}.",
        )
        balances = (self.label_balance, self.concat_balance, self.res_balance, self.attn_balance)
        require(all(0 <= balance <= 1 for balance in balances), f"balances must be in [0, 1], got {balances}.")
        require(self.sigma_data > 0, f"sigma_data must be positive, got {self.sigma_data}.")
        require(self.clip_act is None or self.clip_act > 0, f"clip_act must be positive, got {self.clip_act}.")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}.")
        taps = self.resample_filter
        require(
            len(taps) >= 2 and len(taps) % 2 == 0 and sum(taps) != 0,
            f"resample_filter must have an even number of taps and a sum that is not zero, got {taps}.",
        )
        self._require_whole_heads()

    def _require_types(self) -> None:
        """Refuses what is no number, or larger than in any network."""
        sizes = ("img_resolution", "img_channels", "model_channels", "attn_resolutions", "channels_per_head")
        largest = dict.fromkeys((*sizes, "logvar_channels"), MAX_SIZE)
        largest |= dict.fromkeys(("channel_mult", "channel_mult_noise", "channel_mult_emb", "num_blocks"), MAX_BLOCKS)
        normalise_counts(self, largest | {"label_dim": MAX_CLASSES})
        balances = ("label_balance", "concat_balance", "res_balance", "attn_balance")
        require_numbers(self, *balances, "clip_act", "resample_filter", "sigma_data", "dropout")

    def _require_whole_heads(self) -> None:
        """Refuses heads that can't share the channels of a level with attention; the coarsest always has it."""
        attends = [side in self.attn_resolutions for side in self.resolutions[:-1]]
        for width, attention in zip(self.widths, [*attends, True], strict=True):
            heads = width // self.channels_per_head if attention else 0
            require(
                heads == 0 or width % heads == 0,
                f"{width} channels cannot be divided among {heads} heads: change channels_per_head.",
            )

    @classmethod
    def preset(cls, size: str, **changes: Any) -> "EDM2Config":
        """A published size, "xs", "s", "m", "l", "xl" or "xxl", for ImageNet at 64 x 64, with some options changed.

        * `size`: the name;
        * `changes`: options to be replaced, by name.
        """
        require_option("size", size, _SIZES)
        channels, dropout = _SIZES[size]
        return cls(**{"model_channels": channels, "dropout": dropout} | changes)

    @property
    def stride(self) -> int:
        """Side of the pixels of the coarsest level: image sides are multiples of it."""
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Side of each level for images of side `img_resolution`, finest first."""
        return tuple(self.img_resolution >> level for level in range(len(self.channel_mult)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.model_channels * mult for mult in self.channel_mult)

    @property
    def noise_size(self) -> int:
        """Fourier features of the noise level."""
        return self.model_channels * (self.channel_mult_noise or self.channel_mult[0])

    @property
    def embedding_size(self) -> int:
        """Width of the embedding of noise level and label."""
        return self.model_channels * (self.channel_mult_emb or max(self.channel_mult))
