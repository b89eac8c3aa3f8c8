"""Released copies that are damaged, each kind in every way: one line that names file and tensor."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.released import CASES, FP8, change_config, released, save_any

from jaxmap.checkpoint import weights
from jaxmap.errors import InputError

UP = "model.layers.1.mlp.up_proj"
Tensors = dict[str, np.ndarray]
# Without these a weight is what it is, or another rule holds.
OPTIONAL = ("g_idx", "weight_zero_point", "weight_g_idx", "weight_global_scale", "weight_scale_2")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Callable[[str], tuple[Path, Tensors]]:
    """Of each case a checkpoint, and its tensors."""

    @functools.cache
    def made(name: str) -> tuple[Path, Tensors]:
        coded, _ = released(tmp_path_factory.mktemp(name), **CASES[name])
        with weights.open_tensors(coded) as found:
            return coded, {one: stored.read() for one, stored in found.items()}

    return made


def parts_of(tensors: Tensors) -> Iterator[str]:
    return (name for name in tensors if name.startswith(f"{UP}."))


def refused(folder: Path, case: str, *, tensor: bool = True) -> None:
    for in_codes in (False, True):
        with pytest.raises(InputError) as caught:
            weights.load(folder, dtype="float32", in_codes=in_codes)
        message = str(caught.value)
        assert "\n" not in message, case
        assert str(folder) in message, f"{case}: {message}"
        assert not tensor or UP in message, f"{case}: {message}"


def spoilt(folder: Path, coded: Path, tensors: Tensors) -> Path:
    shutil.copytree(coded, folder, dirs_exist_ok=True)
    save_any(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("name", CASES)
def test_a_part_that_is_missing(name, checkpoints, tmp_path):
    coded, tensors = checkpoints(name)
    for part in parts_of(tensors):
        if part.endswith((*OPTIONAL, ".weight_format")):
            continue
        left = {one: value for one, value in tensors.items() if one != part}
        refused(spoilt(tmp_path, coded, left), f"{name} without {part}")


@pytest.mark.parametrize("name", CASES)
def test_a_part_of_another_shape(name, checkpoints, tmp_path):
    coded, tensors = checkpoints(name)
    for part in parts_of(tensors):
        value = tensors[part]
        # Of 8-bit floats the shape of the scales says what the blocks are.
        if value.size < 2 or part.endswith((".weight_shape", ".weight_scale_inv")):
            continue
        for axis in range(value.ndim):
            if value.shape[axis] > 1:
                cut = np.take(value, range(value.shape[axis] - 1), axis)
                changed = {**tensors, part: cut}
                refused(spoilt(tmp_path, coded, changed), f"{name}, {part} {cut.shape}")


@pytest.mark.parametrize("name", CASES)
def test_scales_that_are_no_numbers(name, checkpoints, tmp_path):
    coded, tensors = checkpoints(name)
    for part in parts_of(tensors):
        value = tensors[part]
        if value.dtype.kind in "iu" or part.endswith("quant_map"):
            continue
        bad = value.copy()
        bad.reshape(-1)[-1] = np.nan
        refused(spoilt(tmp_path, coded, {**tensors, part: bad}), f"{name}, NaN in {part}")


@pytest.mark.parametrize("name", ["gptq", "awq", "pack-quantized", "int-quantized", "nvfp4"])
def test_a_part_that_is_one_number_or_none(name, checkpoints, tmp_path):
    """Read where one scale is that of a whole tensor, else refused; without a warning."""
    coded, tensors = checkpoints(name)
    for part in parts_of(tensors):
        value = tensors[part]
        for other in (value.reshape(-1)[0].reshape(()), value[..., :0], value.reshape(-1)[:0]):
            folder = spoilt(tmp_path, coded, {**tensors, part: other})
            try:
                weights.load(folder, dtype="float32")
            except InputError as error:
                message = str(error)
            else:
                message = "" if other.shape else UP
            assert UP in message, f"{name}, {part}: {message}"


def test_eight_bit_of_bitsandbytes_in_another_order(checkpoints, tmp_path):
    coded, tensors = checkpoints("bnb-int8")
    other = {**tensors, f"{UP}.weight_format": np.array(1, np.uint8)}
    refused(spoilt(tmp_path, coded, other), "columns in tiles")


def test_several_scales_of_a_whole_tensor(checkpoints, tmp_path):
    for name, part in (("nvfp4", "weight_global_scale"), ("modelopt", "weight_scale_2")):
        coded, tensors = checkpoints(name)
        two = np.ones(2, np.float32)
        changed = {**tensors, f"{UP}.{part}": two}
        refused(spoilt(tmp_path / name, coded, changed), f"{name}, two of {part}")


def test_a_vector_of_8_bit_floats(checkpoints, tmp_path):
    coded, tensors = checkpoints("fp8-row")
    changed = {**tensors, f"{UP}.weight": tensors[f"{UP}.weight"].reshape(-1)}
    refused(spoilt(tmp_path, coded, changed), "fp8-row, a vector")


def test_blocks_larger_than_the_weight(checkpoints, tmp_path):
    """No memory is taken for what a block would hold beyond the weight."""
    coded, tensors = checkpoints("fp8-block")
    one = np.full((1, 1), 0.5, np.float32)
    ends = "_proj.weight_scale_inv"
    scaled = {n: one if n.endswith(ends) else value for n, value in tensors.items()}
    folder = spoilt(tmp_path, coded, scaled)
    change_config(folder, quantization_config={**FP8, "weight_block_size": [1 << 40, 1 << 40]})
    for in_codes in (False, True):
        weights.load(folder, dtype="float32", in_codes=in_codes)
    with weights.opened(folder) as found:
        want = tensors[f"{UP}.weight"].astype(np.float32) / 2
        np.testing.assert_array_equal(found.tensors[f"{UP}.weight"].read(), want)


@pytest.mark.parametrize("name", ["gptq", "bnb-nf4", "fp8-block"])
def test_a_file_that_is_cut(name, checkpoints, tmp_path):
    coded, _ = checkpoints(name)
    shutil.copytree(coded, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(tmp_path, f"{name}, {size} bytes", tensor=False)


@pytest.mark.parametrize(
    ("name", "part"), [("gptq", "g_idx"), ("pack-quantized-8", "weight_g_idx")]
)
def test_a_group_that_is_not_there(name, part, checkpoints, tmp_path):
    coded, tensors = checkpoints(name)
    for value in (-2, 99):
        index = tensors[f"{UP}.{part}"].copy()
        index[3] = value
        changed = {**tensors, f"{UP}.{part}": index}
        refused(spoilt(tmp_path, coded, changed), f"{name}, group {value}")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model."])
def test_wrappers_before_names(name, prefix, checkpoints, tmp_path):
    coded, tensors = checkpoints(name)
    folder = spoilt(tmp_path, coded, {f"{prefix}{one}": value for one, value in tensors.items()})
    with weights.opened(coded) as plain, weights.opened(folder) as wrapped:
        assert wrapped.tensors.keys() == plain.tensors.keys()
        name = f"{UP}.weight"
        np.testing.assert_array_equal(wrapped.tensors[name].read(), plain.tensors[name].read())
