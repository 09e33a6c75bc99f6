"""The experiments on networks, with tiny random ones: everything but the physics of trained weights."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from fashion_sample import FOLDER
from flax import nnx
from helpers import assert_close
from matplotlib.patches import Rectangle

import softjax as sj
from softjax.convert import CheckpointError, load_network, read_description, save_network, shipped
from softjax.data import FASHION_MNIST_CLASSES, LabelledImages
from softjax.data._idx import read_idx
from softjax.experiments import edm2, fashion
from softjax.experiments.configs import (
    EDM2Config,
    FashionConfig,
    NoiseGrid,
    Probe,
    TimeGrid,
)
from softjax.experiments.fashion.study import LOWEST_PEAK, classes
from softjax.networks import EDM2, UNet, UNetConfig
from softjax.networks import EDM2Config as NetworkConfig
from softjax.sweeps._program import Program
from softjax.training.fashion import images_of

pytestmark = pytest.mark.slow

FASHION = FashionConfig(
    grid_size=8,
    num_trajectories=3,
    num_equivariance_times=3,
    num_equivariance_states=2,
    time=TimeGrid(num_steps=10),
    probe=Probe(max_shell=2, num_fit_shells=2),
)
SAMPLER = EDM2Config(num_trajectories=3, noise=NoiseGrid(num_steps=5), probe=Probe(max_shell=2, num_fit_shells=2))


def with_noise(network, key=7):
    """Every parameter moved, those that start at zero too."""
    leaves, structure = jax.tree.flatten(network)
    noise = [0.1 * jr.normal(jr.fold_in(jr.key(key), n), leaf.shape, leaf.dtype) for n, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, [leaf + extra for leaf, extra in zip(leaves, noise, strict=True)])


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unet")
    network = UNet(UNetConfig(widths=(8, 8), num_middle_blocks=1, embedding_size=16), rngs=nnx.Rngs(0))
    save_network(folder, with_noise(network), sj.VP(1.0), "noise", {"epochs": 0.5})
    return str(folder)


@pytest.fixture(scope="module")
def edm2_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edm2")
    config = NetworkConfig(
        img_resolution=8, img_channels=1, label_dim=4, model_channels=8, channel_mult=(1,), num_blocks=1
    )
    save_network(folder, with_noise(EDM2(config, rngs=nnx.Rngs(0))), sj.EDM(0.5), "denoiser")
    return str(folder)


@pytest.fixture(scope="module")
def fashion_run(unet, tmp_path_factory):
    path = tmp_path_factory.mktemp("fashion") / "data.zarr"
    return fashion.run(replace(FASHION, weights=unet), path), path


def test_fashion_measures_equivariance(fashion_run):
    data, _ = fashion_run
    assert data["leakage"].dims == ("state", "equivariance_time", "shell")
    assert data["leakage"].shape == (2, 3, 3)
    assert float(data["leakage"].min()) >= 0
    assert float(data["leakage"].max()) <= 1
    assert data["zone_rate"].shape == (2, 3, 8, 8)
    assert float(data["effective_radius"].min()) > 0
    assert data.attrs["epochs"] == 0.5
    assert all(data[name].attrs["units"] for name in ("leakage", "zone_rate", "effective_radius"))


def test_the_zone_is_that_of_the_dense_jacobian(fashion_run, unet):
    """At t_max, where the states are the trajectories' own starts: 16 probes meet the exact zone within their error."""
    data, _ = fashion_run
    field = load_network(unet)
    key = jr.split(jr.key(FASHION.seed))[0]
    x = jr.normal(jr.split(jr.fold_in(key, 0))[0], (8, 8))
    t = float(data["equivariance_time"][0])
    jacobian = jax.jit(jax.jacfwd(lambda x: sj.reverse_drift(field, t, x)))(x)
    waves = jnp.fft.fft2(jnp.eye(64).reshape(64, 8, 8), norm="ortho").reshape(64, 64)  # rows: sites, columns: k
    exact = jnp.einsum("ik,ij,jk->k", waves, jacobian.reshape(64, 64).astype(waves.dtype), waves.conj()).real
    found = data["zone_rate"].values[0, 0].ravel() / float(field.process.sigma(t)) ** 2
    _, sem = sj.dispersion(lambda x: sj.reverse_drift(field, t, x), x, key=jr.split(jr.key(FASHION.seed))[1])
    z = (found - exact) / np.asarray(sem.real).ravel()
    assert np.max(np.abs(z)) < 6  # Student's t with 15 degrees of freedom, 64 times
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.5


def test_fashion_resumes_only_with_the_same_weights(fashion_run, unet, tmp_path):
    data, path = fashion_run
    again = fashion.run(replace(FASHION, weights=unet), path)
    assert_close(again["final_state"].values, data["final_state"].values)
    network = UNet(UNetConfig(widths=(8, 8), num_middle_blocks=1, embedding_size=16), rngs=nnx.Rngs(0))
    save_network(tmp_path / "unet", with_noise(network, 8), sj.VP(1.0))
    (tmp_path / "unet").rename(tmp_path / "moved")
    with pytest.raises(FileExistsError, match="another configuration"):
        fashion.run(replace(FASHION, weights=str(tmp_path / "moved")), path)


def test_fashion_keeps_all_that_it_shows(fashion_run, unet, monkeypatch):
    data, path = fashion_run
    assert set(sj.experiments.load_results(path).variables) == set(data.variables)
    monkeypatch.setattr("softjax.experiments.fashion.study.equivariance", None)  # to call it again fails
    again = fashion.run(replace(FASHION, weights=unet), path)
    for name in ("leakage", "zone_rate", "effective_radius"):
        assert_close(again[name].values, data[name].values)
        assert again[name].attrs == data[name].attrs


def test_fashion_draws_and_sums_up(fashion_run):
    data, _ = fashion_run
    assert len(fashion.figure(data).subfigs) == 4
    assert len(fashion.figure(data.drop_vars(["leakage", "zone_rate", "effective_radius"])).subfigs) == 3
    rows = {row.name: row for row in fashion.summary(data)}
    assert rows["epochs of training"].value == 0.5
    assert not rows["peak of median xi_eq"].value < LOWEST_PEAK  # none at all in so short a run
    assert "onset of xi, median above 1 site" in rows


def test_the_classifier_sees_no_noise_of_the_last_time(unet, tmp_path, monkeypatch):
    shown = []
    spy = lambda *what: shown.append(what) or xr.Dataset()  # noqa: E731
    monkeypatch.setattr("softjax.experiments.fashion.study.classes", spy)
    field, about = load_network(unet), {"training": {"threshold": 64}}
    save_network(tmp_path / "network", field.network, field.process, "noise", about)
    time = TimeGrid(t_min=0.5, num_steps=2)  # where a denoised image is far from its state
    config = replace(FASHION, weights=str(tmp_path / "network"), num_equivariance_times=0, time=time)
    states = jnp.asarray(fashion.run(config)["final_state"].values)
    images, *variant = shown[0]
    assert variant == [False, 64]
    assert_close(images, jax.vmap(lambda x: field.denoise(jnp.asarray(0.5), x))(states))
    assert np.max(np.abs(images - states)) > 0.1


@pytest.mark.parametrize("grey", [False, True])
def test_the_samples_are_shown_to_the_classifier(fashion_run, grey):
    folder = (read_idx(FOLDER / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    images, labels = images_of(LabelledImages(*folder), "grey" if grey else "binary")
    judged = classes(1.05 * images, grey)  # beyond +-1, as samples are
    assert np.mean(judged["class_index"].values == labels) > 0.75
    assert classes(images[:, :20, :20], grey).sizes == {}
    assert classes(images, grey, threshold=64).sizes == ({"trajectory": 100} if grey else {})
    assert "class_index" not in fashion_run[0]  # its images are 8 x 8

    data = fashion_run[0].merge(judged.isel(trajectory=slice(0, 3)))
    data["class_probability"][:] = [0.9, 0.5, 0.81]
    rows = {row.name: row.value for row in fashion.summary(data)}
    assert rows["samples with a class of probability > 0.8"] == pytest.approx(2 / 3)
    titles = [axis.get_title() for axis in fashion.figure(data).subfigs[0].axes]
    assert [title for title in titles if title] == [
        f"{FASHION_MNIST_CLASSES[int(c)]} {p}"
        for c, p in zip(data["class_index"].values, ("0.90", "0.50", "0.81"), strict=True)
    ]


def test_a_classifier_is_no_field(tmp_path):
    from softjax.networks import Classifier, ClassifierConfig

    save_network(tmp_path, Classifier(ClassifierConfig(side=8, widths=(8,)), rngs=nnx.Rngs(0)))
    with pytest.raises(CheckpointError, match="not a diffusion model"):
        fashion.run(replace(FASHION, weights=str(tmp_path)))


def test_fashion_starts_no_earlier_than_its_network_was_trained(tmp_path):
    network = UNet(UNetConfig(widths=(8,), num_middle_blocks=0, embedding_size=4), rngs=nnx.Rngs(0))
    save_network(tmp_path, network, sj.VP(1.0), "noise", {"training": {"t_max": 5.0}})
    with pytest.raises(ValueError, match="trained on times up to 5, not 6: take --time.t-max 5"):
        fashion.run(replace(FASHION, weights=str(tmp_path)))


def test_edm2_follows_heun_with_the_label_of_each_trajectory(edm2_folder, tmp_path):
    config = replace(SAMPLER, weights=edm2_folder, labels=(3, 1))
    data = edm2.run(config, tmp_path / "data.zarr")
    assert data["final_state"].shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(data["label"].values, [3, 1, 3])
    grid = config.noise
    ts = sj.karras_grid(grid.sigma_max, grid.sigma_min, grid.num_steps, grid.rho)
    assert_close(data["time"].values, np.asarray(ts)[:-1])
    fields = [load_network(edm2_folder, label) for label in (3, 1, 3)]
    samples = [
        sj.heun(field, ts, key=jr.fold_in(jr.key(0), member), shape=(8, 8, 1), observe=lambda t, x: x)
        for member, field in enumerate(fields)
    ]
    assert_close(data["final_state"].values, jnp.stack([sample.x for sample in samples]), loosen=100)
    field, t, x = fields[2], ts[2], samples[2].observed[2]
    v = sj.fourier_modes((8, 8), 2).directions[3][..., None]
    jv = jax.jvp(lambda x: (field.denoise(t, x) - x) / t, (x,), (v,))[1]
    assert_close(data["direction_magnitude"].values[2, 2, 3], jnp.linalg.norm(jv), loosen=100)
    assert len(edm2.figure(data).subfigs) == 3
    rows = edm2.summary(data)
    assert {row.units for row in rows[:2]} == {"sigma"}
    assert rows[0].text in edm2.findings(data, rows)


def test_figures_mark_the_peak_that_the_summary_names(fashion_run):
    """Below the lowest time that counts, single pixels carry the response: a larger peak there is none."""
    data = fashion_run[0].copy(deep=True)
    ts = data["time"].values
    data["equilibrium_length"][:] = np.where(ts < LOWEST_PEAK, 9.0, np.exp(-(np.log(ts / 1.0) ** 2)))
    row = fashion.summary(data)[0]
    assert row.value > LOWEST_PEAK
    curves = fashion.figure(data).subfigs[2]
    assert rf"{row.value:.4g} [" in curves.get_suptitle()
    for axis in curves.axes:
        (line,) = (line for line in axis.lines if np.ptp(line.get_xdata()) == 0)
        assert line.get_xdata() == pytest.approx([row.value] * 2)
        bands = [
            patch for patch in axis.patches if isinstance(patch, Rectangle) and patch.get_label() != "not searched"
        ]
        (band,) = bands
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx(row.interval)


def test_edm2_takes_the_network_that_ships_by_default():
    data = edm2.run(replace(SAMPLER, num_trajectories=1, labels=(9,), noise=NoiseGrid(num_steps=3)))
    assert data.attrs["weights_sha256"] == read_description(shipped("edm2-fashion"))["sha256"]
    assert data["final_state"].shape == (1, 32, 32, 1)


def test_edm2_divides_its_work_to_fit_the_memory(edm2_folder, monkeypatch):
    config = replace(
        SAMPLER, weights=edm2_folder, num_trajectories=2, noise=NoiseGrid(num_steps=2), probe=Probe(1, num_fit_shells=1)
    )
    assert edm2.STUDY.unit(config).observer.directions_at_a_time is None
    whole = edm2.run(config)
    monkeypatch.setattr("softjax.sweeps._program._CPU_MEMORY", 1)
    assert edm2.STUDY.unit(config).observer.directions_at_a_time == 1
    widths = []
    prepare = Program.prepare
    monkeypatch.setattr(Program, "prepare", lambda *a: widths.append(prepare(*a)) or widths[-1])
    divided = edm2.run(config)
    assert {*widths} == {1}
    assert_close(divided["direction_magnitude"].values, whole["direction_magnitude"].values, loosen=100)


def test_edm2_refuses_what_it_cannot_do(unet, edm2_folder, tmp_path):
    free = NetworkConfig(8, 1, label_dim=0, model_channels=8, channel_mult=(1,), num_blocks=1)
    save_network(tmp_path, EDM2(free, rngs=nnx.Rngs(0)), sj.EDM(0.5), "denoiser")
    with pytest.raises(ValueError, match="is no EDM network"):
        edm2.run(replace(SAMPLER, weights=unet))
    with pytest.raises(ValueError, match=r"labels must lie between 0 and 3, got \(4,\)"):
        edm2.run(replace(SAMPLER, weights=edm2_folder, labels=(4,)))
    with pytest.raises(ValueError, match="unconditional"):
        edm2.run(replace(SAMPLER, weights=str(tmp_path), labels=(1,)))
