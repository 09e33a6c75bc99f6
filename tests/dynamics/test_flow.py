import diffrax as dfx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import X64, convergence_order

import softjax as sj

SPECTRUM = sj.spectral.free_field_spectrum((6, 5), mass=0.5, stiffness=2.0)
PROCESSES = {
    "constant": (sj.VP(), 3.0, 0.1),
    "linear": (sj.VP.linear(0.2, 2.0, 3.0), 3.0, 0.1),
    "edm": (sj.EDM(), 10.0, 0.1),
}


def exact_end(process, start, end, x0, mean):
    """Every Fourier mode keeps its quantile: its distance from the mean scales with its standard deviation."""
    alpha, sigma = (np.asarray([scale(start), scale(end)]) for scale in (process.alpha, process.sigma))
    deviation = np.sqrt(alpha[:, None, None] ** 2 * np.asarray(SPECTRUM) + sigma[:, None, None] ** 2)
    modes = np.fft.fft2(np.asarray(x0) - alpha[0] * mean) * deviation[1] / deviation[0]
    return alpha[1] * mean + np.fft.ifft2(modes).real


def flow_error(case, num_steps, solver):
    process, start, end = case
    field, x0 = sj.GaussianField(SPECTRUM, process, mean=0.4), 2 * jr.normal(jr.key(0), (6, 5))
    ts = sj.log_grid(start, end, num_steps)
    x = sj.simulate(field, ts, x0=x0, key=jr.key(1), kind="flow", solver=solver).x
    return float(np.max(np.abs(np.asarray(x) - exact_end(process, start, end, x0, 0.4))))


@pytest.mark.parametrize(
    ("process", "solver", "order"), [("constant", "euler", 1), ("linear", dfx.Heun(), 2), ("edm", "euler", 1)]
)
def test_flow_of_a_gaussian_field_converges_at_its_order_to_the_exact_map(process, solver, order):
    levels = (40, 80, 160, 320) if order == 1 or X64 else (10, 20, 40, 80)  # above rounding
    errors = [flow_error(PROCESSES[process], n, solver) for n in levels]
    # On a logarithmic grid the next order in the step still shows at 40 steps, on either side.
    assert order - 0.15 < convergence_order([1 / n for n in levels], errors) < order + 0.3


@pytest.mark.parametrize("case", PROCESSES.values(), ids=PROCESSES)
def test_flow_by_a_high_order_solver_is_exact(case):
    # Tsit5 at 100 steps: h^5 is far below 1e-6, and rounding adds up over them in float32.
    assert flow_error(case, 100, dfx.Tsit5()) < (1e-6 if X64 else 3e-5)


def test_flow_takes_no_noise_from_the_key():
    field, ts = sj.GaussianField(SPECTRUM, sj.VP()), sj.log_grid(2.0, 0.5, 8)
    x0 = jr.normal(jr.key(0), (6, 5))
    one, other = (sj.simulate(field, ts, x0=x0, key=jr.key(i), kind="flow").x for i in range(2))
    np.testing.assert_array_equal(one, other)


def test_euler_steps_of_karras_grid_reach_the_data_at_sigma_zero():
    field = sj.GaussianField(0.25 * jnp.ones((2000,)), sj.EDM(), mean=0.3)
    x0 = 80 * jr.normal(jr.key(0), (2000,))
    coarse, fine = (
        np.asarray(sj.simulate(field, sj.karras_grid(num_steps=n), x0=x0, key=jr.key(0), kind="flow").x)
        for n in (500, 1000)
    )
    # Deterministic and affine: a factor 0.5 / sqrt(80^2 + 0.5^2) of the distance from the mean.
    expected = 0.3 + (np.asarray(x0) - 0.3) * 0.5 / np.hypot(80, 0.5)
    extrapolated = 2 * fine - coarse
    assert np.max(np.abs(extrapolated - expected)) < 1e-3 * np.std(expected)
    assert np.max(np.abs(fine - expected)) < np.max(np.abs(coarse - expected))
