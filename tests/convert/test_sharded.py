"""Safetensors in several files."""

import json
import shutil
import struct

import numpy as np
import pytest
from convert.tiny_edm2 import STATE

from softjax.convert import CheckpointError, convert, read_checkpoint
from softjax.convert._safetensors import write_safetensors
from softjax.convert._store import read_description

NAMES = list(STATE)
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
PLACES = {name: SHARDS[i >= 20] for i, name in enumerate(NAMES)}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for shard in SHARDS:
        write_safetensors(folder / shard, {n: STATE[n] for n in NAMES if PLACES[n] == shard}, "float32")
    write_index(folder)
    return folder


def write_index(folder, **changes):
    content = {"metadata": {"total_size": 1}, "weight_map": PLACES | changes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


@pytest.mark.parametrize("given", ["", "model.safetensors.index.json", *SHARDS])
def test_all_shards_are_read(folder, given):
    tensors = read_checkpoint(folder / given).tensors
    assert tensors.keys() == STATE.keys()
    for name, value in STATE.items():
        np.testing.assert_array_equal(tensors[name], value)


def test_a_conversion_is_the_same_from_any_part(folder, tmp_path):
    options = {"channels_per_head": 4}
    out = convert(folder, tmp_path / "out", options=options)
    assert convert(folder / SHARDS[1], out, options=options) == out
    shards = read_description(out)["about"]["source"]["shards"]
    assert [shard["file"] for shard in shards] == SHARDS


def test_a_folder_with_one_file_is_that_file(tmp_path):
    write_safetensors(tmp_path / "weights.safetensors", STATE, "float32")
    assert read_checkpoint(tmp_path).tensors.keys() == STATE.keys()
    shutil.copy(tmp_path / "weights.safetensors", tmp_path / "again.safetensors")
    with pytest.raises(CheckpointError, match="again.safetensors, weights.safetensors: give one file"):
        read_checkpoint(tmp_path)


def test_a_folder_of_other_files_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder with no safetensors file"):
        read_checkpoint(tmp_path)


def test_a_missing_shard_is_named(folder):
    (folder / SHARDS[1]).unlink()
    with pytest.raises(CheckpointError, match=rf"index\.json names the shard {SHARDS[1]}, which is missing"):
        read_checkpoint(folder / SHARDS[0])


def test_a_tensor_that_is_missing_in_its_shard_is_named(folder):
    write_index(folder, **{NAMES[0]: SHARDS[1]})
    with pytest.raises(
        CheckpointError, match="holds 'unet.out_gain', which the index does not|'unet.out_gain' is missing"
    ):
        read_checkpoint(folder)
    write_index(folder, **{"unet.more": SHARDS[1]})
    with pytest.raises(CheckpointError, match=f"tensor 'unet.more' is missing in its shard {SHARDS[1]}"):
        read_checkpoint(folder)


def test_a_shard_without_its_index_is_refused(folder):
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="is one of 2 files: put its index"):
        read_checkpoint(folder / SHARDS[0])


@pytest.mark.parametrize(
    "place",
    [
        "../secret.safetensors",
        "/secret.safetensors",
        "a/b.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "x.pt",
        "a\0.safetensors",
        3,
        None,
        ["a"],
        "a" * 900,
    ],
)
def test_shards_are_in_the_folder_of_the_index(folder, place):
    write_safetensors(folder.parent / "secret.safetensors", STATE, "float32")
    write_index(folder, **{NAMES[0]: place})
    with pytest.raises(CheckpointError, match="no safetensors file beside it") as refused:
        read_checkpoint(folder / "model.safetensors.index.json")
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map":' + "[" * 100_000, "{" + "1" * 5000]
)
def test_a_damaged_index_is_refused(folder, text):
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"index\.json is (damaged|no index of shards)"):
        read_checkpoint(folder)


def test_an_index_of_other_files_is_ignored(folder):
    (folder / "model.safetensors.index.json").write_text("{")
    write_safetensors(folder / "whole.safetensors", STATE, "float32")
    assert read_checkpoint(folder / "whole.safetensors").tensors.keys() == STATE.keys()


@pytest.mark.parametrize(("code", "size"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("F4", 0.5)])
def test_numbers_of_few_bits_are_refused_in_words(tmp_path, code, size):
    header = json.dumps({"a": {"dtype": code, "shape": [8], "data_offsets": [0, int(8 * size)]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(int(8 * size)))
    with pytest.raises(CheckpointError, match=rf"tensor a is refused: it holds float\d numbers \({code}\): save it as"):
        read_checkpoint(tmp_path / "a.safetensors")


def test_brain_floats_are_read(tmp_path):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\x80\x3f\x00\xc0")
    tensor = read_checkpoint(tmp_path / "a.safetensors").tensors["a"]
    assert tensor.dtype.name == "bfloat16"
    assert tensor.tolist() == [1, -2]
