"""The pitchfork of two patterns, and how it splits for many
=========================================================

Left: rest points of the projected drift at frozen times, exact and near the onset. The symmetric point is unstable to
the right of a dot. Right: growth rates of the directions spanned by eight prototypes; each crosses zero at its own
time.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

process = sj.VP()
ts = sj.log_grid(t_max=6.0, t_min=0.05, num_steps=600)
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")

for number, squared_norm in enumerate((9, 49)):
    branches = sj.theory.bifurcation_diagram(process, ts, squared_norm)
    onset = float(sj.theory.critical_time(process, squared_norm))
    final = branches.equilibrium[-1]
    print(f"squared norm {squared_norm}: onset at t = {onset:.3f}, m* = {final:.3f} at t = {ts[-1]:.2g}")
    broken, near = ts < onset, (ts < onset) & (ts > 0.7 * onset)
    for sign in (1, -1):
        label = f"$|y|^2$ = {squared_norm}" if sign > 0 else None
        left.plot(ts[broken], sign * branches.equilibrium[broken], color=f"C{number}", label=label)
        left.plot(ts[near], sign * branches.near_onset[near], "--", color=f"C{number}", linewidth=0.9)
    left.plot(onset, 0, "o", color=f"C{number}", markersize=4)
left.axhline(0, color="0.3", linewidth=0.8)
left.set(xlabel="diffusion time t", ylabel="rest points (units of the pattern)", ylim=(-1.2, 1.2))
left.legend(title="dashed: near onset")

half = jr.rademacher(jr.key(0), (4, 8, 8), float)
field = sj.EmpiricalField(jnp.concatenate([half, -half]), process)
rates = jax.jit(jax.vmap(lambda t: sj.theory.prototype_spectrum(field, t).growth_rates))(ts)
times = sj.theory.prototype_critical_times(field)[:4]
print("eight prototypes on 64 sites turn unstable at t =", ", ".join(f"{t:.3f}" for t in times))
shown = ts > 2
right.plot(ts[shown], rates[shown, :4])
right.plot(times, 0 * times, "o", color="black", markersize=4)
right.axhline(0, color="0.3", linewidth=0.8)
right.set(xlabel="diffusion time t", ylabel="growth rates at x = 0 (1/t)", ylim=(-1, 4))
for axis in (left, right):
    axis.invert_xaxis()  # noise on the left, data on the right
figure.savefig("bifurcation.png", dpi=150)
