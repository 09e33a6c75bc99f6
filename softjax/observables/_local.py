"""Sitewise observables of one configuration, and its magnetisation."""

from typing import Literal

import jax.numpy as jnp

from softjax._checks import public, require
from softjax._linalg import matmul
from softjax._types import Array, Configuration, Float

_LUMINANCE = {"rec709": (0.2126, 0.7152, 0.0722), "rec601": (0.299, 0.587, 0.114)}


@public
def binarize(x: Configuration) -> Configuration:
    """Sign of each site, with sign(0) = +1, Eq. (43); shape of `x`. NaN is no spin and stays NaN.

    * `x`: a configuration of any shape.

    >>> print(sj.binarize([-0.3, 0.0, 2.0]))
    [-1.  1.  1.]
    """
    one = jnp.ones((), x.dtype)
    return jnp.where(jnp.isnan(x), x, jnp.where(x >= 0, one, -one))


@public
def luminance(
    rgb: Float[Array, "*lattice 3"], standard: Literal["rec709", "rec601"] = "rec709"
) -> Float[Array, "*lattice"]:
    """Luminance of a colour configuration (*lattice, 3), in its units, by Rec. 709 or Rec. 601 (App. E.3).

    * `rgb`: (*lattice, 3), red, green, blue;
    * `standard`: the weights, "rec709" or "rec601".

    >>> rgb = jnp.zeros((4, 4, 3)).at[..., 1].set(1.0)
    >>> print(f"{sj.luminance(rgb)[0, 0]:.4f} {sj.luminance(rgb, 'rec601')[0, 0]:.4f}")
    0.7152 0.5870
    """
    require(
        rgb.ndim >= 1 and rgb.shape[-1] == 3, f"rgb must have three channels on its last axis, got shape {rgb.shape}."
    )
    return matmul(rgb, jnp.asarray(_LUMINANCE[standard], rgb.dtype))


@public
def magnetisation(x: Configuration) -> Float[Array, ""]:
    """Mean over all sites.

    * `x`: a configuration of any shape; the mean is in its units.

    >>> print(sj.magnetisation([1.0, 1.0, 1.0, -1.0]))
    0.5
    """
    return jnp.mean(x)
