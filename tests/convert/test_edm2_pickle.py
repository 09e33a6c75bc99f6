import functools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from convert import edm2_pickle_writer as writer
from convert.edm2_pickle_writer import ORDERED
from convert.pickle_emitter import Emitter, NewObj
from convert.tiny_edm2 import STATE, array, buffered_array, module, read

from softjax.convert import CheckpointError
from softjax.convert._edm2 import edm2_config
from softjax.convert._edm2_layout import edm2_modules, edm2_shapes, infer_edm2_arguments

DATA = Path(__file__).parents[1] / "data" / "edm2"


def golden(name):
    with np.load(DATA / f"{name}_weights.npz") as file:
        tensors = dict(file)
    del tensors["n_parameters"]
    return json.loads(str(tensors.pop("config"))), tensors


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("uncond", {}),
        *(("options", o) for o in ({}, {"half": False}, {"memo": False}, {"framing": False}, {"protocol": 5})),
    ],
    ids=str,
)
def test_reads_every_tensor_exactly(tmp_path, name, options):
    arguments, tensors = golden(name)
    checkpoint = read(tmp_path, None, arguments, tensors, **options)
    assert checkpoint.options == arguments
    assert checkpoint.class_name == "Precond"
    assert checkpoint.encoder == {"class_name": "StandardRGBEncoder"}
    assert list(checkpoint.tensors) == list(tensors)
    for key, value in tensors.items():
        wanted = value if options.get("half") is False else value.astype(np.float16)
        assert checkpoint.tensors[key].dtype == wanted.dtype
        np.testing.assert_array_equal(checkpoint.tensors[key], wanted)


def test_tensors_are_read_only_views(tmp_path):
    tensors = read(tmp_path).tensors
    assert all(not value.flags.owndata and not value.flags.writeable for value in tensors.values())


def test_source_text_is_never_looked_at(tmp_path):
    checkpoint = read(tmp_path, source="import sys; sys.exit(1) \\u\x00 def (")
    assert checkpoint.tensors.keys() == STATE.keys()


@pytest.mark.parametrize("name", ["options", "uncond"])
def test_layout_is_the_references(name):
    arguments, tensors = golden(name)
    shapes = {key: value.shape for key, value in tensors.items()}
    assert edm2_shapes(edm2_modules(edm2_config(arguments))) == shapes


def test_layout_of_the_small_published_network():
    manifest = json.loads((DATA / "s64_manifest.json").read_text())
    shapes = {name: tuple(shape) for name, shape in manifest["tensors"].items()}
    assert edm2_shapes(edm2_modules(edm2_config(manifest["config"]))) == shapes
    inferred = edm2_config(infer_edm2_arguments(shapes))
    assert edm2_shapes(edm2_modules(inferred)) == shapes


@pytest.mark.parametrize("name", ["options", "uncond"])
def test_arguments_follow_from_the_shapes(name):
    arguments, tensors = golden(name)
    shapes = {key: value.shape for key, value in tensors.items()}
    inferred = infer_edm2_arguments(shapes)
    config, wanted = edm2_config(inferred), edm2_config(arguments)
    assert (config.widths, config.noise_size, config.embedding_size) == (
        wanted.widths,
        wanted.noise_size,
        wanted.embedding_size,
    )
    for key in ("img_resolution", "img_channels", "label_dim", "logvar_channels", "num_blocks", "attn_resolutions"):
        assert getattr(config, key) == getattr(wanted, key)


@pytest.mark.parametrize(
    ("protocol", "vector"),
    [
        *((protocol, functools.partial(array, core=core)) for protocol in (4, 5) for core in ("core", "_core")),
        *((5, functools.partial(buffered_array, core=core)) for core in ("core", "_core")),
    ],
)
def test_latent_networks_say_how_latents_are_scaled(tmp_path, protocol, vector):
    """Arrays as each NumPy and each protocol has them, the newest in protocol 5: a byte array."""

    def latents(top):
        state = {
            "vae_name": "a/vae",
            "scale": vector([0.5, 2.0]),
            "bias": vector([1.0, -1.0]),
            "batch_size": 8,
            "_vae": None,
        }
        top["encoder"] = writer.persistent("StabilityVAEEncoder", state)

    encoder = read(tmp_path, latents, protocol=protocol).encoder
    assert encoder == {"class_name": "StabilityVAEEncoder", "vae_name": "a/vae", "scale": [0.5, 2.0], "bias": [1, -1]}


def test_absent_and_additional_entries_are_tolerated(tmp_path):
    def edit(top):
        del top["encoder"], top["dataset_kwargs"], top["loss_fn"]
        top["notes"] = ["anything", {"inert": (1, 2.5, None)}]

    checkpoint = read(tmp_path, edit)
    assert checkpoint.encoder is None
    assert checkpoint.tensors.keys() == STATE.keys()


def test_shared_values_are_fine(tmp_path):
    shared = [1, 1]

    def edit(top):
        for path in ("unet.enc.4x4_block0", "unet.dec.2x2_in0", "unet.dec.4x4_up"):
            module(top, path)["resample_filter"] = shared
        deep = [1]
        for _ in range(60):
            deep = [deep[0], deep[0]]
        top["notes"] = deep

    assert read(tmp_path, edit).tensors.keys() == STATE.keys()


def test_containers_of_older_versions_are_fine(tmp_path):
    def edit(top):
        for path in ("unet.dec.4x4_block0.conv_res0", "unet.enc", "unet", ""):  # children first
            state = module(top, path)
            for group in ("_modules", "_parameters", "_buffers"):
                state[group] = NewObj(ORDERED, items=state[group])

    assert read(tmp_path, edit).tensors.keys() == STATE.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3}, "no vector of the size it claims"),
        ({"order": "K"}, "elements in the order 'K'"),
    ],
)
def test_byte_arrays_that_are_no_vectors_are_refused(tmp_path, change, message):
    def latents(top):
        vectors = {"scale": buffered_array([0.5, 2.0], **change), "bias": buffered_array([1.0, -1.0])}
        top["encoder"] = writer.persistent("StabilityVAEEncoder", {"vae_name": "a/vae", **vectors})

    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, latents, protocol=5)


def test_numpy_writes_what_the_writer_writes():
    values, emitter = [0.5, 2.0], Emitter(protocol=5)
    emitter.put(buffered_array(values))
    ours = b"".join(emitter.frame).replace(b"\x94", b"")
    theirs = pickle.dumps(np.array(values, "<f4"), 5)[11:-1].replace(b"\x94", b"")
    assert pickle.loads(b"\x80\x05" + ours + b".").tolist() == values
    assert theirs.startswith(ours[:30])
