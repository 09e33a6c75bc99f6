"""How much faster is the patch score than the literal reading of its definition?"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from timing import compiled

import softjax as sj

BATCH, SIDE, PATCH = 8, 64, 5


def literal_score(field: sj.PatchField, t: jax.Array, x: jax.Array) -> jax.Array:
    """Gather every patch, einsum with the dictionary, softmax over it."""
    d, radius = field.dictionary, PATCH // 2
    index = (np.arange(SIDE)[:, None] + np.arange(-radius, radius + 1)) % SIDE
    patches = x[index[:, None, :, None], index[None, :, None, :]]
    alpha, variance = field.process.alpha(t), field.process.sigma(t) ** 2
    logits = jnp.einsum("ijrs,mrs->ijm", patches, d.patterns) * alpha / variance + d.log_prior
    posterior = jax.nn.softmax(logits, axis=-1)
    return (alpha * jnp.einsum("ijm,m->ij", posterior, d.centres) - x) / variance


def bench_score_against_literal_einsum(versus):
    field = sj.PatchField(sj.PatchDictionary.ising(PATCH, key=jr.key(0)), sj.VP())
    x, t = jr.normal(jr.key(1), (BATCH, SIDE, SIDE)), jnp.asarray(2.0)
    ours = compiled(jax.vmap(field.score, (None, 0)), t, x)
    peer = compiled(jax.vmap(lambda t, x: literal_score(field, t, x), (None, 0)), t, x)
    np.testing.assert_allclose(ours.run(), peer.run(), atol=2e-5)
    versus("patch score", ours, peer, rounds=300, batch=BATCH, lattice=(SIDE, SIDE), patch=PATCH, patterns=10)
