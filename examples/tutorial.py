"""Tutorial: from a process to a critical point, in five steps
===========================================================

A score field plus a process gives a drift. The drift can be integrated, which gives trajectories, or linearised, which
gives modes. Observables and fits turn either into correlation lengths and critical times. These five steps go once
through all of it; nothing else is needed to do the same with a model of your own.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

# %%
# 1. Process and grid
# -------------------
#
# A process says how data become noise, `x_t = alpha(t) x_0 + sigma(t) noise`: data at t = 0, noise at large t. This one
# keeps the variance and adds noise at a constant rate. Reverse trajectories run along a grid of times from noise to
# data, here with logarithmic steps.

process = sj.VP(beta=1.0)
ts = sj.log_grid(t_max=6.0, t_min=1e-2, num_steps=200)

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
axis.semilogx(ts, process.alpha(ts), label=r"signal $\alpha$")
axis.semilogx(ts, process.sigma(ts), label=r"noise $\sigma$")
axis.plot(ts[::10], jnp.zeros_like(ts[::10]), "|", color="0.3", label="every tenth time of the grid")
axis.invert_xaxis()  # noise on the left, data on the right
axis.set(xlabel="diffusion time t")
axis.legend()

# %%
# 2. Field
# --------
#
# A field knows the data: given a noisy configuration it says what the data behind it are on average (`denoise`), and
# from that the score. The patch model sees the 5 x 5 neighbourhood of each site and a dictionary of ten patterns, two
# of which are uniform. Its score is exact. For a trained network see `sj.NetworkField`.

dictionary = sj.PatchDictionary.ising(patch_size=5, num_random=4, p_global=0.8, key=jr.key(0))
field = sj.PatchField(dictionary, process)

noisy = jr.normal(jr.key(1), (48, 48))
figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
axes[0].imshow(noisy, cmap="RdBu_r", vmin=-3, vmax=3)
axes[0].set_title("noise")
for axis, t in zip(axes[1:], (3.0, 2.0, 1.0), strict=True):
    axis.imshow(field.denoise(t, noisy), cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_title(f"denoised as if t = {t:g}")
for axis in axes:
    axis.set(xticks=[], yticks=[])

# %%
# 3. Trajectory
# -------------
#
# `sj.simulate` integrates the reverse equation. It keeps the last state only; `observe` says what else to keep on every
# time of the grid. The same key gives the same trajectory.

trajectory = sj.simulate(
    field, ts, shape=(48, 48), key=jr.key(2), observe=lambda t, x: (x, sj.correlation_length(sj.binarize(x)))
)
states, lengths = trajectory.observed

figure, axes = plt.subplots(1, 5, figsize=(12, 2.6), layout="constrained", width_ratios=[1, 1, 1, 1, 1.8])
for axis, index in zip(axes, (0, 60, 100, 200), strict=False):
    axis.imshow(states[index], cmap="RdBu_r", vmin=-1.5, vmax=1.5)
    axis.set(title=f"t = {ts[index]:.2g}", xticks=[], yticks=[])
axes[4].semilogx(ts, lengths, color="black")
axes[4].invert_xaxis()
axes[4].set(xlabel="diffusion time t", ylabel="correlation length (sites)")

# %%
# 4. Modes
# --------
#
# How does the drift answer when the state is pushed along a plane wave? `sj.ModeProbe` asks its Jacobian, without
# finite differences. Waves of one length form a shell. A response near zero is a soft mode: nothing pulls the state
# back.

modes = sj.fourier_modes((48, 48), max_shell=4)
probe = sj.ModeProbe(field, modes)
ensemble = sj.simulate_ensemble(
    field, ts, shape=(48, 48), num=8, key=jr.key(3), observe=lambda t, x: probe(t, x).magnitude
)
responses = ensemble.observed  # (trajectories, times, shells)

figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for shell, curve in enumerate(jnp.median(responses, axis=0).T):
    axis.loglog(ts, curve, color=plt.get_cmap("viridis")(shell / 4.5), label=f"shell {shell}")
axis.invert_xaxis()
axis.set(xlabel="diffusion time t", ylabel=r"response $\|J v\|$ (1/t)", ylim=(0.2, 30))
axis.legend()

# %%
# 5. Critical point
# -----------------
#
# Near a transition long waves are much softer than short ones. The curvature of the responses over the wavenumber is
# the square of a length, which peaks at the critical time. For this dictionary the critical time of the linear theory
# is known in closed form. And there is the null: what a state without any pattern, x = 0, would show.

fit = sj.equilibrium_correlation_length(modes.wavenumbers, responses, num_shells=3)
found = sj.critical_point(ts, fit.length, key=jr.key(4))
exact = sj.theory.dictionary_critical_time(dictionary, process, (48, 48))
print(f"measured {found}")
print(f"linear theory {exact:.3f}")

at_zero = jax.vmap(lambda t: probe(t, jnp.zeros((48, 48))).magnitude)(ts)
null = sj.equilibrium_correlation_length(modes.wavenumbers, at_zero, num_shells=3).length
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
axis.plot(ts, fit.length.T, color="C3", alpha=0.25)
axis.plot(ts, jnp.median(fit.length, axis=0), color="C3", label="along trajectories, median", linewidth=2)
axis.plot(ts, null, ":", color="0.3", label="null: at x = 0")
axis.axvspan(*found.interval, color="C3", alpha=0.15, linewidth=0)
axis.axvline(float(exact), color="black", linestyle="--", label="critical time, linear theory")
axis.set(xlabel="diffusion time t", ylabel=r"equilibrium length $\xi_{eq}$ (sites)", xlim=(6, 1), ylim=(0, 2.5))
axis.legend(loc="center right")
figure.savefig("tutorial.png", dpi=150)
