import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convert.edm2_pickle_writer import write_edm2_pickle
from convert.pickle_emitter import Global, Reduce
from convert.tiny_edm2 import ARGUMENTS, STATE, module, random_state
from convert.torch_zip_writer import torch_zip
from helpers import FLOAT

from softjax.convert import CheckpointError, load_module, load_network, parameters
from softjax.convert._convert import convert
from softjax.convert._dinov2 import dinov2_from_tensors
from softjax.convert._edm2 import edm2_config, edm2_from_tensors
from softjax.convert._safetensors import write_safetensors
from softjax.convert._store import file_digest, read_description
from softjax.networks import EDM2
from softjax.processes import EDM

DATA = Path(__file__).parents[1] / "data"
LEFT_OPEN = {"channels_per_head": 4}

untyped = pytest.mark.usefixtures("without_type_checks")  # which take most of the time here


@pytest.fixture
def pickle(tmp_path):
    path = tmp_path / "edm2-img4-xs-0.075.pkl"
    write_edm2_pickle(ARGUMENTS, STATE, path)
    return path


def assert_equal(network, wanted):
    assert network.config == wanted.config
    for name, value in parameters(wanted).items():
        assert value.dtype == FLOAT
        np.testing.assert_array_equal(parameters(network)[name], value, err_msg=name)


@untyped
@pytest.mark.float32
@pytest.mark.parametrize("half", [True, False])
def test_a_published_network_becomes_a_field(tmp_path, half):
    source, seen = tmp_path / "edm2-img4-xs-0.075.pkl", []
    write_edm2_pickle(ARGUMENTS, STATE, source, half=half)
    out = convert(source, tmp_path / "new" / "network", progress=lambda done, total: seen.append((done, total)))
    assert_equal(load_module(out), edm2_from_tensors(STATE, edm2_config(ARGUMENTS)))
    size = sum(value.size for value in STATE.values()) * (2 if half else 4)
    assert size < (out / "weights.safetensors").stat().st_size < size + 20_000
    assert seen[-1] == (size, size)


@untyped
def test_the_field_denoises(tmp_path, pickle):
    field = load_network(convert(pickle, tmp_path / "network"), label=1)
    assert (field.process, field.prediction) == (EDM(0.5), "denoiser")
    denoised = jax.eval_shape(field.denoise, 2.0, jnp.zeros((4, 4)))
    assert denoised.shape == (4, 4)


def test_records_where_it_comes_from(tmp_path, pickle):
    out = convert(pickle, tmp_path / "network")
    about = read_description(out)["about"]
    assert about["source"] == {"file": pickle.name, "bytes": pickle.stat().st_size, "sha256": file_digest(pickle)}
    assert "CC BY-NC-SA 4.0" in about["licence"]
    assert about["arguments"] == ARGUMENTS
    assert about["encoder"] == {"class_name": "StandardRGBEncoder"}


@untyped
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_bare_tensors_with_options_are_the_same_network(tmp_path, suffix):
    source = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        source.write_bytes(torch_zip(STATE))
    else:
        write_safetensors(source, STATE, "float32")
    out = convert(source, tmp_path / "network", options=LEFT_OPEN)
    network, wanted = load_module(out), edm2_from_tensors(STATE, edm2_config(ARGUMENTS))
    assert isinstance(network, EDM2)
    assert network.config.channels_per_head == 4
    for name, value in parameters(wanted).items():
        np.testing.assert_array_equal(parameters(network)[name], value)


def test_bare_tensors_that_contradict_the_defaults_are_refused(tmp_path):
    source = tmp_path / "weights.pth"
    source.write_bytes(torch_zip(STATE))
    with pytest.raises(CheckpointError, match="attn_qkv"):
        convert(source, tmp_path / "network")


def dinov2(prefix):
    with np.load(DATA / "dinov2" / "weights.npz") as file:
        return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}


@untyped
@pytest.mark.parametrize("head", [None, "head1/", "head4/"])
def test_dinov2_with_its_head(tmp_path, head):
    backbone, parts = tmp_path / "backbone.pth", dinov2(head) if head else None
    backbone.write_bytes(torch_zip(dinov2("orig/")))
    if parts:
        (tmp_path / "head.pth").write_bytes(torch_zip(parts))
    out = convert(
        backbone, tmp_path / "network", head=tmp_path / "head.pth" if head else None, options={"num_heads": 4}
    )
    assert_equal(load_module(out), dinov2_from_tensors(dinov2("orig/"), parts, 4))
    about = read_description(out)["about"]
    assert "Apache 2.0" in about["licence"]
    assert about.get("head", {}).get("file") == ("head.pth" if head else None)
    with pytest.raises(CheckpointError, match="not a diffusion model"):
        load_network(out)


def test_the_same_conversion_again_changes_nothing(tmp_path, pickle):
    out = convert(pickle, tmp_path / "network")
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(out.iterdir())]
    convert(pickle, out)
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(out.iterdir())] == before


@untyped
def test_nothing_is_overwritten(tmp_path, pickle):
    out = convert(pickle, tmp_path / "network")
    write_edm2_pickle(ARGUMENTS, {**STATE, "unet.out_gain": np.ones(())}, pickle)
    for occupied in (out, pickle, tmp_path):
        with pytest.raises(FileExistsError, match="remove it, or choose another"):
            convert(pickle, occupied)
    assert_equal(load_module(out), edm2_from_tensors(STATE, edm2_config(ARGUMENTS)))


def test_a_damaged_result_is_not_taken_for_the_same(tmp_path, pickle):
    out = convert(pickle, tmp_path / "network")
    (out / "weights.safetensors").write_bytes(b"")
    with pytest.raises(FileExistsError, match="not this conversion"):
        convert(pickle, out)


def test_an_empty_folder_is_filled(tmp_path, pickle):
    (tmp_path / "network").mkdir()
    load_module(convert(pickle, tmp_path / "network"))


def with_nan(top):
    weights = module(top, "unet.out_conv")["_parameters"]["weight"]
    call = weights.args[0].args[0]
    call.args = (call.args[0][:-2] + b"\x00\x7e",)


def calling(top):
    top["notes"] = Reduce(Global("os", "system"), "touch owned")


@pytest.mark.parametrize(
    ("edit", "message"),
    [(with_nan, "unet.out_conv.weight: holds NaN"), (calling, "names 'os.system'")],
)
def test_nothing_is_written_for_a_refused_file(tmp_path, monkeypatch, edit, message):
    monkeypatch.chdir(tmp_path)
    write_edm2_pickle(ARGUMENTS, STATE, tmp_path / "network.pkl", edit=edit)
    with pytest.raises(CheckpointError, match=message):
        convert("network.pkl", "out/network")
    assert [path.name for path in tmp_path.iterdir()] == ["network.pkl"]


def test_what_a_killed_conversion_left_is_removed_and_nothing_else(tmp_path, pickle):
    left, ours, mine = (tmp_path / f"out.partial-{name}" for name in ("999999999", os.getpid(), "of-mine"))
    for folder in (left, ours, mine):
        folder.mkdir()
    convert(pickle, tmp_path / "out")
    assert not left.exists()
    assert mine.exists()


def test_nothing_is_left_of_an_interrupted_conversion(tmp_path, pickle):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(pickle, tmp_path / "network", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [pickle.name]


INSTEAD = [
    (b"", "is empty"),
    (b"<!DOCTYPE html><html>404</html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
    (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "from before PyTorch 1.6"),
    (b"\x80\x03}.", "a pickle of protocol 3"),
    (b"GGUF" + bytes(30), "starts with b'GGUF"),
    (b"PK\x03\x04" + bytes(30), "its end is not there"),
    (torch_zip({"weight": np.ones((3, 4)), "bias": np.ones(3)}), "a linear head alone"),
    (torch_zip({"conv.weight": np.ones(3)}), "neither EDM2 nor DINOv2; the first are conv.weight"),
    (torch_zip({"unet.out_gain": np.ones(3)}), "not the tensors of an EDM2 network"),
    (torch_zip({"pos_embed": np.ones((1, 2, 3))}), "cls_token"),
    (torch_zip({**STATE, "unet.out_gain": np.array(1)}), "unet.out_gain: holds int64"),
]


@untyped
@pytest.mark.parametrize(("content", "message"), INSTEAD, ids=[message for _, message in INSTEAD])
def test_says_what_a_file_is_instead(tmp_path, content, message):
    source = tmp_path / "file"
    source.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        convert(source, tmp_path / "network", options=LEFT_OPEN if b"unet" in content else None)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_says_that_a_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="is missing"):
        convert(tmp_path / "network.pkl", tmp_path / "network")


def test_refuses_options_that_the_network_does_not_take(tmp_path, pickle):
    with pytest.raises(ValueError, match="says all about its network"):
        convert(pickle, tmp_path / "network", options=LEFT_OPEN)
    with pytest.raises(ValueError, match="no separate head"):
        convert(pickle, tmp_path / "network", head=pickle)
    (tmp_path / "backbone.pth").write_bytes(torch_zip(dinov2("orig/")))
    with pytest.raises(ValueError, match="one option of DINOv2 is num_heads, got width"):
        convert(tmp_path / "backbone.pth", tmp_path / "network", options={"width": 3})


MEASURE = """
import sys
from pathlib import Path
from softjax.convert._convert import convert

def peak():
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(status["VmHWM"].split()[0])

folder = Path(sys.argv[1])
convert(folder / "small.pkl", folder / "small")
before = peak()
convert(folder / "large.pkl", folder / "large")
assert not any(name.split(".")[0] in ("torch", "torch_utils", "dnnlib", "training") for name in sys.modules)
print((peak() - before) / (folder / "large.pkl").stat().st_size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory where Linux writes it")
def test_memory_stays_below_the_files_size_and_torch_is_not_imported(tmp_path):
    """48 MB; the least memory is 1, the file itself, which is mapped. An import of torch would fail."""
    large = {"img_resolution": 8, "img_channels": 3, "label_dim": 10, "model_channels": 192, "channel_mult": [1, 2]}
    large |= {"num_blocks": 1, "attn_resolutions": []}
    write_edm2_pickle(ARGUMENTS, STATE, tmp_path / "small.pkl")
    write_edm2_pickle(large, random_state(large), tmp_path / "large.pkl")
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    ratio = float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout)
    assert 0.2 < ratio < 2
    assert json.loads((tmp_path / "large" / "network.json").read_text())["num_parameters"] > 20e6
