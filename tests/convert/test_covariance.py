"""The covariance of a network's data, beside it: as it was written, or refused."""

import jax.numpy as jnp
import numpy as np
import pytest

import softjax as sj
from softjax.convert import CheckpointError, load_covariance, save_covariance, shipped
from softjax.fields import CovarianceField
from softjax.theory import gaussian_responses

IMAGES = np.random.default_rng(0).normal(size=(40, 6, 6)).cumsum(1)


def test_responses_are_those_of_what_was_stored(tmp_path):
    field = CovarianceField.from_samples(IMAGES, sj.VP(), shrinkage=0.0, channels=0)
    save_covariance(tmp_path, field, 40, "noise")
    found = load_covariance(tmp_path, sj.VP())
    assert found is not None
    assert found[1] == "40 samples of noise"
    modes, ts = sj.fourier_modes((6, 6), 3), jnp.asarray([4.0, 1.0, 0.2])
    wanted = gaussian_responses(field, ts, modes).magnitude
    np.testing.assert_allclose(gaussian_responses(found[0], ts, modes).magnitude, wanted, rtol=2e-3)


def test_a_folder_without_one_has_none(tmp_path):
    assert load_covariance(tmp_path, sj.VP()) is None


def test_damage_is_noticed(tmp_path):
    save_covariance(tmp_path, CovarianceField.from_samples(IMAGES, sj.VP(), channels=0), 40, "noise")
    path = tmp_path / "covariance.safetensors"
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match=r"covariance\.safetensors"):
            load_covariance(tmp_path, sj.VP())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_covariance(tmp_path, sj.VP())


@pytest.mark.parametrize(
    ("name", "process", "shape", "where", "height"),
    [
        ("fashion-binary", sj.VP(), (28, 28), 4.65, 1.35),
        ("fashion-grey", sj.VP(), (28, 28), 4.25, None),
        ("edm2-fashion", sj.EDM(), (32, 32), 3.85, None),
    ],
)
def test_the_shipped_ones_peak_where_the_theory_says(name, process, shape, where, height):
    """Where the null of Fashion-MNIST was found to have its longest equilibrium length, on grids coarser by 2%."""
    found = load_covariance(shipped(name), process)
    assert found is not None
    modes, ts = sj.fourier_modes(shape, 3), jnp.geomspace(8.0, 1.0, 400)
    magnitudes = gaussian_responses(found[0], ts, modes).magnitude
    lengths = np.asarray(sj.equilibrium_correlation_length(modes.wavenumbers, magnitudes, num_shells=3).length)
    assert float(ts[np.argmax(lengths)]) == pytest.approx(where, rel=0.025)
    if height is not None:
        assert lengths.max() == pytest.approx(height, rel=0.01)
