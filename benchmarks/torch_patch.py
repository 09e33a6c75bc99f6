"""The patch experiment in PyTorch: as the formulas read, and as one who knows the framework would write it.

Both integrate a batch of trajectories, (trajectories, side, side), from noise to data by Euler-Maruyama steps of
dx = beta (x/2 + score) dt + sqrt(beta) dW in reverse time, and measure how the drift responds to unit directions v,
(directions, side, side): the Rayleigh quotient <v, Jv> and the magnitude |Jv| of each, for every trajectory.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, unfold

Score = Callable[[float, Tensor], Tensor]
Response = tuple[Tensor, Tensor]


class Dictionary(NamedTuple):
    """Patterns of +-1, (patterns, width, width), with the logarithms of their priors; the process is VP, of rate 1."""

    patterns: Tensor
    log_prior: Tensor


def levels(t: float) -> tuple[float, float]:
    """alpha and sigma^2 at time t."""
    return math.exp(-t / 2), -math.expm1(-t)


def literal_score(dictionary: Dictionary, t: float, x: Tensor) -> Tensor:
    """Every patch is gathered; a softmax of its squared distances to all patterns weighs their centres."""
    alpha, variance = levels(t)
    width = dictionary.patterns.shape[-1]
    wrapped = pad(x[:, None], (width // 2,) * 4, mode="circular")
    patches = unfold(wrapped, width).transpose(1, 2)  # (trajectories, sites, width^2)
    patterns = dictionary.patterns.flatten(1)
    distances = (patches[:, :, None] - alpha * patterns).square().sum(-1)  # (trajectories, sites, patterns)
    logits = dictionary.log_prior - distances / (2 * variance)
    posterior = torch.softmax(logits, dim=-1)
    denoised = torch.einsum("bim,m->bi", posterior, patterns[:, width**2 // 2])
    return (alpha * denoised.reshape(x.shape) - x) / variance


def expert_score(dictionary: Dictionary, t: float, x: Tensor) -> Tensor:
    """One convolution with half the dictionary; a pattern and its negative share their overlap, u and -u.

    Takes patterns of equal norm that are followed, in the second half, by their negatives with the same priors.
    """
    alpha, variance = levels(t)
    width = dictionary.patterns.shape[-1]
    half = dictionary.patterns[: len(dictionary.patterns) // 2]
    wrapped = pad(x[:, None], (width // 2,) * 4, mode="circular")
    u = conv2d(wrapped, half[:, None] * (alpha / variance))  # (trajectories, pairs, side, side)
    log_prior = dictionary.log_prior[: len(half), None, None]
    posterior = torch.softmax(log_prior + torch.logaddexp(u, -u), dim=1)
    denoised = (posterior * half[:, width // 2, width // 2, None, None] * torch.tanh(u)).sum(1)
    return (alpha * denoised - x) / variance


def drift(score: Score, t: float, x: Tensor) -> Tensor:
    return 0.5 * x + score(t, x)


def step(score: Score, t: float, t_next: float, x: Tensor) -> Tensor:
    h = t - t_next
    return x + h * drift(score, t, x) + math.sqrt(h) * torch.randn_like(x)


def literal_response(score: Score, t: float, x: Tensor, directions: Tensor) -> Response:
    """Central differences with the paper's step, one direction after the other."""
    epsilon = 1e-2 * math.sqrt(levels(t)[1])
    rayleigh, magnitude = [], []
    for v in directions:
        jv = (drift(score, t, x + epsilon * v) - drift(score, t, x - epsilon * v)) / (2 * epsilon)
        rayleigh.append((v * jv).sum((-2, -1)))
        magnitude.append((jv**2).sum((-2, -1)).sqrt())
    return torch.stack(rayleigh), torch.stack(magnitude)


def difference_response(score: Score, t: float, x: Tensor, directions: Tensor) -> Response:
    """Central differences with the paper's step, all directions and both signs in one batch."""
    epsilon = 1e-2 * math.sqrt(levels(t)[1])
    moves = epsilon * torch.cat([directions, -directions])[:, None]
    ahead, behind = drift(score, t, (x + moves).flatten(0, 1)).reshape(2, len(directions), *x.shape)
    return _measured(directions, (ahead - behind) / (2 * epsilon))


def jvp_response(score: Score, t: float, x: Tensor, directions: Tensor) -> Response:
    """Exact: forward-mode products with the Jacobian, vectorised over the directions."""

    def jacobian(v: Tensor) -> Tensor:
        return torch.func.jvp(lambda x: drift(score, t, x), (x,), (v.expand_as(x),))[1]

    return _measured(directions, torch.func.vmap(jacobian)(directions))


def _measured(directions: Tensor, jv: Tensor) -> Response:
    """Rayleigh quotients and magnitudes, (directions, trajectories)."""
    return (directions[:, None] * jv).sum((-2, -1)), (jv**2).sum((-2, -1)).sqrt()
