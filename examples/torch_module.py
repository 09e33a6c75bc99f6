"""A torch module under the probe
==============================

Any `nn.Module` becomes a JAX function, with exact derivatives: `sj.interop.from_torch`. Here a small convolutional
denoiser, untrained but symmetric, is asked for the growth rates of all its plane waves at x = 0. Beside them stand
central differences that torch itself computes. Needs `pip install 'softjax-diffusion[torch]'`.
"""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import torch

import softjax as sj


class Denoiser(torch.nn.Module):
    """What the noisy image x_t came from: one smoothing layer, saturated by what t says of the noise."""

    def __init__(self):
        super().__init__()
        self.smooth = torch.nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular", bias=False)
        torch.nn.init.constant_(self.smooth.weight, 1.0)

    def forward(self, x, t):
        """Of a batch (batch, 1, height, width) and times (batch,)."""
        signal = torch.exp(-t / 2)[:, None, None, None]
        return torch.tanh(signal / (1 - signal**2) * self.smooth(x))


module, process, side, t = Denoiser().eval(), sj.VP(), 24, 3.0
network = sj.interop.from_torch(module, shape=(side, side), channels="single")
field = sj.NetworkField(network, process, "denoiser")

modes = sj.fourier_modes((side, side), max_shell=8)
exact = sj.ModeProbe(field, modes)(t, jnp.zeros((side, side))).direction_rayleigh


def torch_drift(x):
    """The reverse drift at time t, by torch alone."""
    alpha, sigma = np.exp(-t / 2), np.sqrt(-np.expm1(-t))
    with torch.no_grad():
        answer = module(torch.tensor(x[None, None], dtype=torch.float32), torch.tensor([t]))[0, 0].numpy()
    return 0.5 * x + (alpha * answer - x) / sigma**2


step = 1e-2
differences = [
    np.sum(v * (torch_drift(step * v) - torch_drift(-step * v))) / (2 * step) for v in np.asarray(modes.directions)
]
print(f"largest difference between the two: {np.max(np.abs(np.asarray(differences) - exact)):.1e}")
print(f"critical time of such a field, closed form: {sj.theory.critical_time(process, 25):.3f}")

k = np.linalg.norm(2 * np.pi / side * np.asarray(modes.wavevectors), axis=-1)
figure, axis = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
axis.plot(k, exact, "o", color="black", label="JAX, exact")
axis.plot(k, differences, "+", color="C1", markersize=10, label="torch, central differences")
axis.axhline(0, color="0.3", linewidth=0.8)
axis.set(xlabel="wavenumber k (rad / site)", ylabel="growth rate (1/t)", title=f"t = {t:g}")
axis.legend()
figure.savefig("torch_module.png", dpi=150)
