import functools
import json
import math
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import FLOAT, X64, assert_close
from safetensors.numpy import load_file, save_file

import softjax as sj
from softjax.convert import (
    CheckpointError,
    _store,
    load_module,
    load_network,
    parameter_names,
    parameters,
    read_description,
    save_network,
    with_parameters,
)
from softjax.networks import EDM2, Classifier, ClassifierConfig, EDM2Config, UNet, UNetConfig

CONFIG = UNetConfig(widths=(8, 16), embedding_size=8, num_middle_blocks=1, num_classes=2)


@functools.cache
def outline_of(config):
    return jax.eval_shape(lambda: UNet(config, rngs=nnx.Rngs(0)))


def random_unet(config=CONFIG, seed=0):
    """Weights that float32 holds exactly."""
    outline, rng = outline_of(config), np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32), FLOAT), outline)


@pytest.fixture
def network():
    return random_unet()


@pytest.fixture
def folder(tmp_path, network):
    save_network(tmp_path / "network", network, sj.VP(1.5), "noise", {"licence": "MIT", "epochs": 4})
    return tmp_path / "network"


def redescribe(folder, **changes):
    path = folder / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.float32
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_networks_come_back_bit_for_bit_in_the_default_float_type(tmp_path, network, dtype):
    save_network(tmp_path, network, sj.VP(), dtype=dtype)
    loaded = load_module(tmp_path)
    assert type(loaded) is UNet
    assert loaded.config == CONFIG
    for name, value in parameters(loaded).items():
        assert value.dtype == FLOAT
        np.testing.assert_array_equal(value, parameters(network)[name].astype(dtype).astype(FLOAT))
    assert {str(value.dtype) for value in load_file(tmp_path / "weights.safetensors").values()} == {dtype}
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.float32
@pytest.mark.parametrize("process", [sj.VP(1.5), sj.EDM(0.25)], ids=["vp", "edm"])
@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_the_field_is_the_one_that_was_stored(tmp_path, network, process, prediction):
    save_network(tmp_path, network, process, prediction)
    field, x = load_network(tmp_path, label=1), jnp.asarray(np.random.default_rng(1).normal(size=(4, 6)), FLOAT)
    assert (field.prediction, field.label) == (prediction, 1)
    assert_close(field.process.alpha(0.7), process.alpha(0.7))
    assert type(field.process) is type(process)
    score = jax.jit(lambda field, x: sj.NetworkField(field.network, process, prediction, 1).score(0.7, x))
    assert_close(score(field, x), score(sj.NetworkField(network, process, prediction, 1), x))


def test_the_description_says_what_a_reader_should_know(folder, network):
    description = read_description(folder)
    assert description["architecture"] == "unet"
    assert description["process"] == {"name": "VP", "beta": 1.5}
    assert description["about"] == {"licence": "MIT", "epochs": 4}
    assert description["num_parameters"] == sum(leaf.size for leaf in jax.tree.leaves(network))


def test_classifiers_are_stored_and_are_no_fields(tmp_path):
    config = ClassifierConfig(num_classes=3, widths=(8,))
    save_network(tmp_path, Classifier(config, rngs=nnx.Rngs(0)), None, "logits")
    assert load_module(tmp_path).config == config
    with pytest.raises(CheckpointError, match="holds a classifier, which is not a diffusion model"):
        load_network(tmp_path)


@pytest.mark.parametrize("place", [40, -1])
def test_an_altered_byte_is_noticed(folder, place):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors is damaged: its checksum.*Get it again"):
        load_module(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no network\.json: it is not a network's folder"):
        load_network(tmp_path / "nothing")
    (folder / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors is missing"):
        load_network(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "transformer"}, "unknown architecture 'transformer'"),
        ({"architecture": "classifier"}, "describes no classifier"),
        ({"config": {"widths": [8, 12]}}, "describes no unet: widths must be multiples of 8"),
        ({"config": {"depth": 3}}, "describes no unet.*'depth'"),
        ({"config": [1]}, "describes no unet"),
        (
            {"config": {"widths": [8, 8], "embedding_size": 8}},
            r"weights of another architecture: middle\.1\.\S+ is missing.*and \d+ more",
        ),
        ({"process": {"name": "VE"}}, "unknown process.*VE"),
        ({"process": {"name": "VP"}}, "unknown process.*VP"),
        ({"process": {"name": "EDM", "sigma_data": None}}, "unknown process.*EDM"),
        ({"process": "VP"}, "unknown process 'VP'"),
        ({"prediction": "x0"}, "unknown prediction 'x0'"),
    ],
)
def test_descriptions_of_other_networks_are_refused(folder, changes, message):
    redescribe(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_network(folder)


@pytest.mark.parametrize("text", ["", "[]", '{"architecture": "unet"}', "{\udcff"])
def test_a_damaged_description_is_refused(folder, text):
    (folder / "network.json").write_text(text, errors="surrogateescape")
    with pytest.raises(CheckpointError, match=r"network\.json is damaged"):
        load_network(folder)


def test_weights_that_are_no_safetensors_are_refused_even_with_their_checksum(folder):
    from hashlib import sha256

    (folder / "weights.safetensors").write_bytes(b"not tensors")
    redescribe(folder, sha256=sha256(b"not tensors").hexdigest())
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        load_module(folder)


@pytest.mark.parametrize("process", [sj.VP.cosine(), sj.VP.linear()], ids=["cosine", "linear"])
def test_processes_that_can_not_be_stored_leave_the_old_network(folder, network, process):
    with pytest.raises(ValueError, match="only EDM and VP with a constant rate"):
        save_network(folder, random_unet(seed=1), process)
    assert_parameters(load_module(folder), network)


def assert_parameters(network, expected):
    for name, value in parameters(network).items():
        np.testing.assert_array_equal(value, parameters(expected)[name])


@pytest.mark.parametrize("interrupted", ["write_safetensors", "file_digest", "describe"])
def test_a_write_that_stops_early_leaves_the_old_network(folder, network, interrupted, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"softjax.convert._store.{interrupted}", stop)
    with pytest.raises(KeyboardInterrupt):
        save_network(folder, random_unet(seed=1), sj.VP())
    monkeypatch.undo()
    assert_parameters(load_module(folder), network)


def test_a_write_that_stops_at_the_end_is_recognised(folder, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("softjax.convert._store.write_whole", stop)
    with pytest.raises(KeyboardInterrupt):
        save_network(folder, random_unet(seed=1), sj.VP())
    with pytest.raises(FileNotFoundError, match="or an unfinished one"):
        load_module(folder)
    monkeypatch.undo()
    save_network(folder, random_unet(seed=1), sj.VP())
    assert_parameters(load_module(folder), random_unet(seed=1))


def test_parameters_have_readable_names_in_the_order_of_the_leaves(network):
    names = parameter_names(network)
    assert len(set(names)) == len(names) == len(jax.tree.leaves(network))
    assert {"input.kernel", "encoder.0.0.conv1.kernel", "embedding.labels.embedding"} <= set(names)
    for (name, value), leaf in zip(parameters(network).items(), jax.tree.leaves(network), strict=True):
        assert value.shape == leaf.shape, name


@pytest.fixture
def misfits(network):
    values = parameters(network)
    del values["input.bias"]
    return values | {"extra": np.zeros(2), "output.kernel": np.zeros((3, 3, 8, 2))}


def assert_misfits_named(message):
    for problem in ("input.bias is missing", "extra is not a parameter", "output.kernel has shape (3, 3, 8, 2)"):
        assert problem in message


def test_all_that_does_not_fit_is_named(network, misfits):
    with pytest.raises(CheckpointError) as refused:
        with_parameters(network, misfits)
    assert_misfits_named(str(refused.value))
    with pytest.raises(CheckpointError, match="and [0-9]+ more"):
        with_parameters(network, {})


def test_no_tensor_is_read_of_a_file_that_does_not_fit(tmp_path, misfits, monkeypatch):
    _store.save_parameters(tmp_path, CONFIG, misfits)
    monkeypatch.setattr(_store, "_read", lambda _, name: pytest.fail(f"{name} was read"))
    with pytest.raises(CheckpointError) as refused:
        load_module(tmp_path)
    assert_misfits_named(str(refused.value))


@pytest.mark.float32
def test_half_precision_tensors_are_in_memory_one_at_a_time(tmp_path, network, monkeypatch):
    save_network(tmp_path, network, dtype="float16")
    read, tensors = _store._read, []

    def watched(path, name):
        assert sum(tensor() is not None for tensor in tensors) <= 1
        value = read(path, name)
        tensors.append(weakref.ref(value))
        return value

    monkeypatch.setattr(_store, "_read", watched)
    load_module(tmp_path)
    assert len(tensors) == len(jax.tree.leaves(network))


@pytest.mark.skipif(not X64, reason="float32 files read as double precision")
def test_values_take_the_networks_dtype(network, tmp_path):
    save_file({name: value.astype(np.float32) for name, value in parameters(network).items()}, tmp_path / "w")
    loaded = with_parameters(network, load_file(tmp_path / "w"))
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype("float64")}
    assert_parameters(loaded, network)


HOSTILE = [
    ({"architecture": ["unet"]}, r"unknown architecture \['unet'\]"),
    ({"architecture": {"a": 1}}, "unknown architecture {'a': 1}"),
    ({"architecture": "u" * 10**6}, "unknown architecture 'uuu"),
    ({"config": {"num_blocks": 10**6}}, "num_blocks must be an integer up to 256, got 1000000"),
    ({"config": {"num_blocks": 10**900}}, "num_blocks must be .*got an integer of 2990 bits"),
    ({"config": {"num_blocks": -(10**900)}}, "num_blocks must be .*got an integer of 2990 bits"),
    ({"config": {"num_blocks": "5"}}, "num_blocks must be an integer up to 256, got '5'"),
    ({"config": {"num_blocks": 2.0}}, "num_blocks must be an integer up to 256, got 2.0"),
    ({"config": {"num_blocks": True}}, "num_blocks must be an integer up to 256, got True"),
    ({"config": {"num_blocks": None}}, "num_blocks must be an integer up to 256, got None"),
    ({"config": {"num_blocks": 200}}, "asks for 602 blocks of at least 4 tensors each, .* tensors are there"),
    ({"config": {"widths": [8] * 10**5}}, "widths must be a tuple of at most 16 integers, got a tuple of 100000"),
    ({"config": {"widths": [8, [8]]}}, "each entry of widths must be an integer"),
    ({"config": {"widths": 8}}, "widths must be a tuple of at most 16 integers, got 8"),
    ({"config": {"widths": []}}, "widths must be multiples of 8"),
    ({"config": {"widths": {"a": 1}}}, "widths must be a tuple"),
    ({"config": {"widths": [2**40]}}, "each entry of widths must be an integer up to 65536"),
    ({"config": {"padding": ["zeros"]}}, "padding must be one of"),
    ({"config": "widths"}, "config must be an object with channels"),
    ({"architecture": "dinov2", "config": {"num_heads": "5"}}, "describes no dinov2: num_heads must be an integer"),
    ({"architecture": "dinov2", "config": {"depth": 10**6}}, "depth must be an integer up to 256"),
    ({"architecture": "dinov2", "config": {"pos_offset": math.inf}}, "pos_offset must be a finite number"),
    ({"architecture": "dinov2", "config": {"pos_antialias": 1}}, "pos_antialias must be True or False"),
    ({"architecture": "classifier", "config": {"widths": [7]}}, "widths must be multiples of 8"),
    ({"architecture": "classifier", "config": {"side": 10**30}}, "side must be an integer up to 65536"),
    ({"architecture": "edm2", "config": {"channels_per_head": 5, "model_channels": 16}}, "cannot be divided among"),
    ({"architecture": "edm2", "config": {"sigma_data": math.nan}}, "sigma_data must be a finite number, got nan"),
    ({"architecture": "edm2", "config": {"sigma_data": 10**400}}, "sigma_data must be a finite number"),
    ({"architecture": "edm2", "config": {"resample_filter": ["1", "1"]}}, "resample_filter must be finite numbers"),
    ({"architecture": "edm2", "config": {"compute_dtype": "None"}}, "compute_dtype must be one of"),
    ({"architecture": "edm2", "config": {"compute_dtype": [1]}}, "compute_dtype must be one of"),
    ({"process": {"name": ["VP"], "beta": 1.0}}, "unknown process"),
    ({"process": {"name": "VP", "beta": "1.0"}}, "unknown process"),
    ({"process": {"name": "VP", "beta": math.inf}}, "unknown process"),
    ({"process": {"name": "EDM", "sigma_data": 10**400}}, "unknown process"),
    ({"process": {"name": "EDM", "sigma_data": math.inf}}, "positive, finite number"),
    ({"prediction": ["noise"]}, "unknown prediction"),
    ({"prediction": "x" * 10**6}, "unknown prediction 'xxx"),
    ({"sha256": ["a"]}, "its checksum is not the one"),
]


@pytest.mark.parametrize(("changes", "message"), HOSTILE, ids=[message for _, message in HOSTILE])
def test_hostile_descriptions_are_refused_before_anything_is_built(
    folder, changes, message, monkeypatch, without_type_checks
):
    def build(*_, **__):
        pytest.fail("a network was built")

    architectures = {name: (build, config) for name, (_, config) in _store.ARCHITECTURES.items()}
    monkeypatch.setattr(_store, "ARCHITECTURES", architectures)
    redescribe(folder, **changes)
    with pytest.raises(CheckpointError, match=message) as refused:
        load_network(folder)
    assert str(folder) in str(refused.value)
    assert len(str(refused.value)) < len(str(folder)) + 500


@pytest.mark.parametrize("text", ["[" * 10**5, '{"config":' * 10**5, '{"a":' + "1" * 10**5 + "}"])
def test_descriptions_that_are_too_deep_or_too_long_are_refused(folder, text):
    (folder / "network.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"network\.json is damaged"):
        load_network(folder)


def bend_weights(folder, **changes):
    """Other weights, with their checksum."""
    path = folder / "weights.safetensors"
    tensors = {name: np.asarray(value) for name, value in load_file(path).items()} | changes
    path.unlink()
    save_file(tensors, path)
    redescribe(folder, sha256=_store.file_digest(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.full(8, np.nan, np.float32), "'input.bias' holds NaN or infinite values"),
        (np.full(8, np.inf, np.float16), "'input.bias' holds NaN or infinite values"),
        (np.ones(8, np.int32), "'input.bias' holds I32, wanted floating-point numbers"),
        (np.ones(8, bool), "'input.bias' holds BOOL, wanted floating-point numbers"),
    ],
)
def test_weights_that_can_not_be_right_are_refused_even_with_their_checksum(folder, value, message):
    bend_weights(folder, **{"input.bias": value})
    with pytest.raises(CheckpointError, match=rf"weights\.safetensors: {message}"):
        load_module(folder)


@pytest.mark.float32
@pytest.mark.skipif(X64, reason="double precision holds them")
def test_weights_beyond_single_precision_are_refused(folder):
    bend_weights(folder, **{"input.bias": np.full(8, 1e300)})
    with pytest.raises(CheckpointError, match="holds values beyond 3.4.*JAX_ENABLE_X64"):
        load_module(folder)


@pytest.mark.parametrize("label", [-1, 3, 10**6, np.int64(-1), np.array(7)])
def test_labels_that_the_network_does_not_have_are_refused(folder, label, without_type_checks):
    with pytest.raises(ValueError, match="this network takes labels from 0 to 1, got"):
        load_network(folder, label)


EDM2_CONFIG = EDM2Config(4, 1, 2, 4, (1, 2), num_blocks=1, attn_resolutions=(2,), channels_per_head=4)


@pytest.fixture
def edm2(tmp_path):
    outline = jax.eval_shape(lambda: EDM2(EDM2_CONFIG, rngs=nnx.Rngs(0)))
    network = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, FLOAT), outline)
    save_network(tmp_path / "edm2", network, sj.EDM(), "denoiser")
    return tmp_path / "edm2", network


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": "noise"}, "is the denoiser of an EDM process, got the prediction 'noise'"),
        ({"process": {"name": "VP", "beta": 1.0}}, "is the denoiser of an EDM process, got .*VP"),
        ({"process": {"name": "EDM", "sigma_data": 0.4}}, "the process has sigma_data 0.4, the EDM2 network 0.5"),
    ],
)
def test_an_edm2_network_has_its_own_process(edm2, changes, message):
    folder, _ = edm2
    redescribe(folder, **changes)
    with pytest.raises(CheckpointError, match=rf"network\.json: .*{message}"):
        load_network(folder)


def test_a_network_is_not_stored_with_a_process_that_is_not_its_own(edm2, tmp_path):
    _, network = edm2
    for process, prediction in ((sj.VP(), "denoiser"), (sj.EDM(), "noise"), (sj.EDM(0.4), "denoiser")):
        with pytest.raises(ValueError, match="EDM2 network"):
            save_network(tmp_path / "other", network, process, prediction)
    with pytest.raises(ValueError, match="not a diffusion model"):
        save_network(tmp_path / "other", Classifier(ClassifierConfig(widths=(8,)), rngs=nnx.Rngs(0)), sj.VP())
    assert not (tmp_path / "other").exists()


def test_edm2_labels_out_of_range_are_refused_or_nan(edm2):
    folder, network = edm2
    with pytest.raises(ValueError, match="this network takes labels from 0 to 1, got 2"):
        load_network(folder, 2)

    @jax.jit
    def embed(label):
        return network.embed(jnp.asarray(0.1, FLOAT), label)

    assert np.all(np.isfinite(embed(1)))
    for label in (-1, 2):
        assert np.all(np.isnan(embed(label)))
