import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FLOAT, assert_close

import softjax as sj

WAVENUMBERS = sj.fourier_modes((64,), max_shell=6).wavenumbers


@pytest.mark.float32
@pytest.mark.parametrize("num_shells", [1, 3, 6])
@pytest.mark.parametrize(("mass", "stiffness"), [(0.5, 2.0), (3.0, 0.01), (1.0, 0.0)])
def test_length_of_a_stable_branch_is_exact(mass, stiffness, num_shells):
    magnitudes = mass + stiffness * WAVENUMBERS**2
    fit = sj.equilibrium_correlation_length(WAVENUMBERS, magnitudes, num_shells)
    # Lambda_n / Lambda_0 - 1 is rounded at the level of 1, however small it is.
    smallest = float(WAVENUMBERS[1]) ** 2
    np.testing.assert_allclose(fit.slope, stiffness / mass, rtol=0, atol=8 * float(jnp.finfo(FLOAT).eps) / smallest)
    assert_close(fit.length, np.sqrt(np.maximum(np.asarray(fit.slope), 0)))


@pytest.mark.float32
def test_a_branch_with_its_minimum_elsewhere_has_no_length():
    fit = sj.equilibrium_correlation_length(WAVENUMBERS, 1 - 0.1 * WAVENUMBERS**2)
    assert fit.length == 0
    assert np.isinf(fit.standard_error)
    np.testing.assert_allclose(fit.slope, -0.1, rtol=1e-3)


def test_shells_beyond_those_fitted_do_not_matter():
    magnitudes = jr.uniform(jr.key(0), (7,), FLOAT, 1, 2)
    spoiled = magnitudes.at[4:].set(9.0)
    fit, same = (sj.equilibrium_correlation_length(WAVENUMBERS, m, 3) for m in (magnitudes, spoiled))
    assert_close(fit, same)


def test_slope_minimises_the_squared_residuals():
    magnitudes = np.asarray(jr.uniform(jr.key(0), (7,), FLOAT, 1, 2))
    slope, *_ = np.linalg.lstsq(np.asarray(WAVENUMBERS)[1:5, None] ** 2, magnitudes[1:5] / magnitudes[0] - 1)
    assert_close(sj.equilibrium_correlation_length(WAVENUMBERS, jnp.asarray(magnitudes), 4).slope, slope[0])


def test_one_shell_has_no_standard_error():
    fit = sj.equilibrium_correlation_length(WAVENUMBERS, 1 + WAVENUMBERS**2, num_shells=1)
    assert np.isnan(fit.standard_error)


@pytest.mark.float32
def test_standard_error_is_the_scatter_of_the_length():
    # Independent noise on shells 1 to 6, 1/30 of the largest excess; samples enough for 3% on the scatter.
    noise = 0.02 * jr.normal(jr.key(0), (2000, 7), FLOAT).at[:, 0].set(0)
    fit = sj.equilibrium_correlation_length(WAVENUMBERS, 1 + 2 * WAVENUMBERS**2 + noise, num_shells=6)
    scatter = np.std(fit.length)
    quoted = np.sqrt(np.mean(np.asarray(fit.standard_error) ** 2))
    assert abs(quoted / scatter - 1) < 4 * np.sqrt(1 / (2 * 2000) + 1 / (2 * 2000 * 5))
    assert abs(np.mean(fit.length) - np.sqrt(2)) < 4 * scatter / np.sqrt(2000) + scatter**2  # the root's own bias


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_batch_axes_are_those_of_the_magnitudes(batch):
    magnitudes = jr.uniform(jr.key(0), (*batch, 7), FLOAT, 1, 2)
    fit = jax.jit(sj.equilibrium_correlation_length)(WAVENUMBERS, magnitudes)
    assert fit.length.shape == fit.standard_error.shape == fit.slope.shape == batch
    one = sj.equilibrium_correlation_length(WAVENUMBERS, magnitudes[(-1,) * len(batch)])
    assert_close(jax.tree.map(lambda a: a[(-1,) * len(batch)], fit), one, loosen=5)


@pytest.mark.parametrize(
    ("num_shells", "count", "message"),
    [(0, 7, "between 1 and 6, got 0"), (7, 7, "between 1 and 6, got 7"), (3, 6, "one value per wavenumber.*7; got 6")],
)
@pytest.mark.usefixtures("without_type_checks")
def test_bad_requests_are_refused(num_shells, count, message):
    with pytest.raises(ValueError, match=message):
        sj.equilibrium_correlation_length(WAVENUMBERS, jnp.ones(count, FLOAT), num_shells)
