"""What grows along the path: Lyapunov exponents and amplification
================================================================

The spectrum of the Jacobian at one time says what grows at this instant. What has grown by the end is another question,
as the Jacobian changes along the path. Left: growth of the four small changes of the first state that grow the most,
carried along one trajectory by the derivatives of its steps. Right: how much a wave that is added at t is amplified
until the end, shell by shell. Long waves that come early are amplified the most.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib.pyplot as plt

import softjax as sj

shape = (24, 24)
field = sj.PatchField(sj.PatchDictionary.ising(key=jr.key(0)), sj.VP())
ts = sj.log_grid(t_max=6.0, t_min=1e-2, num_steps=120)
shells = sj.fourier_modes(shape, max_shell=4)


@jax.jit
def growth(key):
    return sj.lyapunov(field, ts, key=key, num=4, shape=shape, kind="flow", shells=shells, num_probes=32)


grown = growth(jr.key(1))
print("growth of the four tangents, from noise to data:", jnp.round(grown.growth[-1], 2))
print(f"least certain by {jnp.max(grown.change):.2g}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for number, curve in enumerate(grown.growth.T):
    left.semilogx(ts, curve, label=f"tangent {number + 1}")
left.axhline(0, color="0.3", linewidth=0.8)
left.set(xlabel="diffusion time t", ylabel="ln growth since t = 6")
for shell in range(shells.num_shells):
    value, error = grown.amplification[:, shell], grown.amplification_error[:, shell]
    color = plt.get_cmap("viridis")(shell / 4.5)
    right.loglog(ts, value, color=color, label=f"shell {shell}")
    right.fill_between(ts, jnp.maximum(value - error, 1e-3), value + error, color=color, alpha=0.25, linewidth=0)
right.axhline(1, color="0.3", linewidth=0.8)
right.set(xlabel="diffusion time t", ylabel=r"amplification $\langle|Mv|^2\rangle$ from t to the end")
for axis in (left, right):
    axis.invert_xaxis()
    axis.legend()
figure.savefig("growth.png", dpi=150)
