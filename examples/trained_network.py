"""A trained network as a field
============================

Images from noise, and how the network's Fourier modes soften on the way.

The U-Net that ships with softjax was trained on Fashion-MNIST with pixels -1 and +1. Any network becomes a field in the
same way: `sj.NetworkField(network, process, prediction="noise")`.
"""

import jax
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np

import softjax as sj
from softjax.convert import load_network, shipped

field = load_network(shipped("fashion-binary"))
ts = sj.log_grid(t_max=6.0, t_min=1e-3, num_steps=100)
modes = sj.fourier_modes((28, 28), max_shell=2)

trajectories = sj.simulate_ensemble(
    field, ts, shape=(28, 28), num=4, key=jr.key(1), observe=lambda t, x: x, solver="sea"
)
at = np.linspace(0, 60, 13).astype(int)  # the coarse half of the way, where structure forms
probe = jax.jit(jax.vmap(jax.vmap(sj.ModeProbe(field, modes), (0, 0)), (None, 0)))
softness = np.median(probe(ts[at], trajectories.observed[:, at]).magnitude, axis=0)

figure, axes = plt.subplots(1, 5, figsize=(12, 2.6), layout="constrained", width_ratios=[1, 1, 1, 1, 2])
for axis, image in zip(axes, trajectories.x, strict=False):
    axis.imshow(image, cmap="RdBu_r", vmin=-1.6, vmax=1.6)
    axis.set(xticks=[], yticks=[])
for shell in range(modes.num_shells):
    axes[4].plot(ts[at], softness[:, shell], marker=".", label=f"n = {shell}")
axes[4].invert_xaxis()
axes[4].set(xlabel="diffusion time t  (noise to the left)", ylabel=r"$\|J v_n\|$  (1/t)", title="softening")
axes[4].legend()
figure.savefig("trained_network.png", dpi=150)
softest = ts[at][softness.argmin(axis=0)]
print(", ".join(f"shell {n} is softest at t = {t:.2f}" for n, t in enumerate(softest)))
