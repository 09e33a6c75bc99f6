"""Does it exceed the null? A peak alone says nothing
==================================================

A Gaussian field with the covariance of the data has no patterns and breaks no symmetry, and its equilibrium length
peaks too. So a peak is set beside that of the null. Here the data are samples of the patch model, and the null is the
stationary Gaussian field with their structure factor, whose responses are known in closed form, without trajectories.
"""

import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

shape, process = (32, 32), sj.VP()
field = sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), process)
ts = sj.log_grid(t_max=6.0, t_min=0.05, num_steps=200)
modes = sj.fourier_modes(shape, max_shell=4)
probe = sj.ModeProbe(field, modes)

run = sj.simulate_ensemble(field, ts, shape=shape, num=48, key=jr.key(1), observe=lambda t, x: probe(t, x).magnitude)
null = sj.GaussianField.from_samples(run.x, process, mean=0)
responses = sj.theory.gaussian_responses(null, ts, modes).magnitude
found = sj.excess(ts, run.observed, responses, modes.wavenumbers, key=jr.key(2))

print(f"model peaks at {found.point}")
print(f"its null peaks at t = {found.null_point.location:.2f}")
low, high = found.shift_interval
print(f"shift {found.shift:.2f} [{low:.2f}, {high:.2f}]; explained by the null: {bool(found.explained)}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(ts, found.length, color="C3", label="patch model, median of 48")
left.plot(ts, found.null_length, ":", color="0.2", label="Gaussian null of its samples")
left.set(xlabel="diffusion time t", ylabel=r"equilibrium length $\xi_{eq}$ (sites)", ylim=(0, 4))
right.plot(ts, found.length_excess, color="black")
right.fill_between(ts, *found.length_interval.T, color="0.75", linewidth=0)
right.axhline(0, color="0.3", linewidth=0.8)
right.set(xlabel="diffusion time t", ylabel="excess over the null (sites)", ylim=(-4, 1))
left.legend()
for axis in (left, right):
    axis.set_xlim(6, 2)  # noise on the left
figure.savefig("null_test.png", dpi=150)
