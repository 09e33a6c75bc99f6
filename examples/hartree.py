"""Fluctuations shift the transition, and the Hartree closure says by how much
===========================================================================

The growth rate of the uniform mode for two patch sizes: linearised at x = 0 (tree level), averaged over a
self-consistent Gaussian field (Hartree), and measured along trajectories of the patch model, with the band of two
standard errors.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

process, shape = sj.VP(), (48, 48)
ts = sj.log_grid(t_max=8.0, t_min=1.5, num_steps=200)
uniform = sj.fourier_modes(shape, max_shell=0)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")

for w, axis in zip((3, 5), axes, strict=True):
    probe = sj.ModeProbe(sj.PatchField(sj.PatchDictionary.two_pattern(w), process), uniform)
    tree = jax.vmap(lambda t, w=w: sj.theory.patch_spectrum(process, t, w, shape)[0, 0])(ts)
    closure = sj.theory.hartree(process, ts, w, shape)
    rates = sj.simulate_ensemble(
        probe.field, ts, shape=shape, num=32, key=jr.key(0), observe=lambda t, x, probe=probe: probe(t, x).rayleigh[0]
    ).observed
    measured = sj.zero_crossing(ts, rates, key=jr.key(1))
    low, high = measured.interval
    print(
        f"w = {w}: tree {sj.theory.critical_time(process, w**2):.3f}, Hartree {closure.critical_time:.3f}, "
        f"measured {measured.location:.3f} [{low:.3f}, {high:.3f}]"
    )
    mean, error = jnp.mean(rates, axis=0), jnp.std(rates, axis=0, ddof=1) / jnp.sqrt(rates.shape[0])
    axis.fill_between(ts, mean - 2 * error, mean + 2 * error, color="0.75")
    axis.plot(ts, mean, color="black", label="measured")
    axis.plot(ts, closure.growth_rate[:, 0, 0], "--", color="C3", label="Hartree")
    axis.plot(ts, tree, ":", color="C0", label="tree level")
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.invert_xaxis()
    axis.set(title=f"{w} x {w} patches", xlabel="diffusion time t", ylim=(-0.6, 0.8))
axes[0].set_ylabel("growth rate of the uniform mode (1/t)")
axes[0].legend()
figure.savefig("hartree.png", dpi=150)
