"""No input ends in a traceback or a signal: what people's files and names hold, spoilt at random.

The same examples in every run (derandomize), about half a minute in all. What was found is kept
beside the module that was at fault.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cases import classic, core, experts, llama_successors, recurrent, state_space
from support.checkpoints import LLAMA, jaxmap, make_checkpoint, read_config, write_texts
from support.stores import record, texts

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.refs import parse_refs
from jaxmap.corpus.texts import load_texts
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store

QUICK = dict(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def many(count: int) -> Any:
    return settings(max_examples=count, **QUICK)  # type: ignore[arg-type]


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -1, 1, 2, 3, 1 << 30, 1 << 62, 0.5, -0.0]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["gelu", "yarn", "bfloat16", "full_attention", "\0", "a/b", "../x", "é"]),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def fails_in_one_line(error: JaxmapError) -> None:
    assert str(error)
    assert "\n" not in str(error)


def places_in(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of everything inside a JSON value."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            found += places_in(one, (*path, key))
    return found


def with_change(value: Any, path: tuple, new: Any, *, remove: bool) -> Any:
    changed = copy.deepcopy(value)
    at = changed
    for key in path[:-1]:
        at = at[key]
    if remove:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return changed


def spoilt(content: bytes, data: st.DataObject) -> bytes:
    """Some bytes cut off, changed, or put in."""
    at = data.draw(st.integers(0, len(content)))
    new = data.draw(st.binary(max_size=4))
    kind = data.draw(st.sampled_from(["cut", "change", "insert", "drop"]))
    if kind == "cut":
        return content[:at]
    return content[:at] + new + content[at + {"change": len(new), "insert": 0, "drop": 7}[kind] :]


def all_cases() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for module in (classic, core, experts, llama_successors, recurrent, state_space):
        found |= {name: config for name, config in module.CASES.items() if isinstance(config, dict)}
    return found


# config.json


@many(1500)
@given(st.sampled_from(sorted(all_cases())), st.data())
def test_keys_of_config_json(name, data):
    config = all_cases()[name]
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places_in(config)))
        config = with_change(config, path, data.draw(VALUES), remove=data.draw(st.booleans()))
        if not config:
            return
    try:
        spec_of(Config(config, "config.json"))
    except InputError as error:
        fails_in_one_line(error)


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("fuzz") / "llama", LLAMA)


def opened(folder: Path) -> None:
    try:
        weights.load(folder)
    except InputError as error:
        fails_in_one_line(error)


def check_with(folder: Path, name: str, content: bytes, drop: str = "") -> None:
    """Loads a copy of a checkpoint with one file changed."""
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / "m"
        shutil.copytree(folder, other)
        (other / name).write_bytes(content)
        if drop:
            (other / drop).unlink()
        opened(other)


ENCODINGS = [
    {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True},
    {"quant_method": "awq", "bits": 4, "version": "gemm"},
    {"quant_method": "fp8", "weight_block_size": [32, 32]},
    {"quant_method": "mxfp4"},
    {"quant_method": "bitsandbytes", "load_in_4bit": True},
    {"quant_method": "modelopt", "quant_algo": "FP8"},
    {
        "quant_method": "compressed-tensors",
        "config_groups": {"g": {"weights": {"num_bits": 4}, "targets": ["Linear"]}},
        "sparsity_config": {"format": "dense"},
    },
]


@many(150)
@given(st.sampled_from(ENCODINGS), st.data())
def test_settings_of_encodings(llama, facts, data):
    config = {**read_config(llama), "quantization_config": facts}
    path = data.draw(st.sampled_from(places_in(facts)))
    path = ("quantization_config", *path)
    changed = with_change(config, path, data.draw(VALUES), remove=data.draw(st.booleans()))
    check_with(llama, "config.json", json.dumps(changed).encode())


@many(60)
@given(st.data())
def test_bytes_of_config_json(llama, data):
    check_with(llama, "config.json", spoilt((llama / "config.json").read_bytes(), data))


# Files of weights


@many(120)
@given(st.data())
def test_headers_of_safetensors(llama, data):
    content = (llama / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    path = data.draw(st.sampled_from(places_in(header)))
    header = with_change(header, path, data.draw(VALUES), remove=data.draw(st.booleans()))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    check_with(llama, "model.safetensors", len(text).to_bytes(8, "little") + text + numbers)


@many(60)
@given(st.data())
def test_bytes_of_safetensors(llama, data):
    content = (llama / "model.safetensors").read_bytes()
    head = data.draw(st.sampled_from([content[:3000], content]))
    check_with(llama, "model.safetensors", spoilt(head, data))


@many(60)
@given(st.data())
def test_pickles_of_torch(llama, data):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"model.norm.weight": torch.zeros(16)}, buffer)
    content = data.draw(st.sampled_from([buffer.getvalue(), pickle.dumps([1, {"a": 2}])]))
    check_with(llama, "pytorch_model.bin", spoilt(content, data), drop="model.safetensors")


@many(80)
@given(st.data())
def test_indexes(llama, data):
    shards = st.sampled_from(
        ["model.safetensors", "other.safetensors", "", "../x", "\0", "config.json"]
    )
    names = st.sampled_from(["model.norm.weight", "lm_head.weight", "x", ""])
    index = data.draw(
        st.one_of(
            VALUES,
            st.fixed_dictionaries(
                {"weight_map": st.one_of(VALUES, st.dictionaries(names, VALUES))}
            ),
            st.fixed_dictionaries({"weight_map": st.dictionaries(names, shards, min_size=1)}),
        )
    )
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / "m"
        shutil.copytree(llama, other)
        (other / "model.safetensors").rename(other / "a.safetensors")
        (other / "model.safetensors.index.json").write_text(json.dumps(index))
        opened(other)


# Tokenizers


@many(400)
@given(st.data())
def test_tokenizers(llama, data):
    some = load_texts(write_texts(llama.parent / "some.jsonl"))
    name = data.draw(st.sampled_from(["tokenizer.json", "tokenizer_config.json"]))
    content = json.loads((llama / name).read_text())
    if name == "tokenizer.json":
        # Of the vocabulary a few entries are enough.
        content["model"]["vocab"] = dict(list(content["model"]["vocab"].items())[:260])
        content["model"]["merges"] = content["model"]["merges"][:3]
    path = data.draw(st.sampled_from([p for p in places_in(content) if len(p) < 5]))
    changed = with_change(content, path, data.draw(VALUES), remove=data.draw(st.booleans()))
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / "m"
        shutil.copytree(llama, other)
        (other / name).write_text(json.dumps(changed))
        try:
            load_tokenizer(other).encode(some, 16)
        except JaxmapError as error:
            fails_in_one_line(error)


# Texts


@many(150)
@given(st.data())
def test_texts(data):
    kind = data.draw(
        st.sampled_from([".jsonl", ".json", ".txt", ".jsonl.gz", ".jsonl.zst", ".txt.zst"])
    )
    rows = data.draw(st.lists(VALUES, max_size=3))
    rows += [{"text": "a b"}] * data.draw(st.integers(0, 2))
    content = "\n".join(json.dumps(row) for row in rows).encode()
    if kind == ".json":
        content = json.dumps(rows).encode()
    content = gzip.compress(content) if kind.endswith(".gz") else content
    content = data.draw(st.sampled_from([content, spoilt(content, data)]))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"t{kind}"
        path.write_bytes(content)
        try:
            load_texts(path)
        except JaxmapError as error:
            fails_in_one_line(error)


# Stores


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    of, folder = texts(12), tmp_path_factory.mktemp("fuzz") / "store"
    made = Store.create(folder, of)
    for step in (0, 1000, 2000):
        made.add(record(of, "org/model-70m", f"step{step}"))
    made.add(record(of, "org/other", quantisation="int8"))
    made.add(record(of, "org/other"))
    return folder


@many(60)
@given(st.data())
def test_files_of_a_store(store, data):
    files = sorted(path.relative_to(store) for path in store.rglob("*") if path.is_file())
    name = data.draw(st.sampled_from(files))
    command = data.draw(st.sampled_from(["status", "export", "kl"]))
    with tempfile.TemporaryDirectory() as place:
        other = Path(place) / "s"
        shutil.copytree(store, other)
        (other / name).write_bytes(spoilt((other / name).read_bytes(), data))
        out = {"status": [], "export": ["x.npz"], "kl": ["x.csv"]}[command]
        ran = jaxmap(command, f"--store={other}", *(f"--out={Path(place) / one}" for one in out))
    assert ran.code in (0, 1, 2)
    assert "Traceback" not in ran.err


# Released pickles


@many(150)
@given(st.data())
def test_released_pickles(data):
    from jaxmap.released.pickles import load_arrays

    content = pickle.dumps(
        {"a": np.arange(6.0), "b": {1: np.float32(2)}, "c": ["x", None]},
        protocol=data.draw(st.integers(0, 5)),
    )
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.pkl"
        path.write_bytes(spoilt(content, data))
        try:
            load_arrays(path)
        except JaxmapError as error:
            fails_in_one_line(error)


# Names


@many(300)
@given(st.text("ab1/.@{},:-_\\ ~é\0\n", max_size=24))
def test_references(text):
    try:
        for ref in parse_refs(text)[:5]:
            assert str(ref)
    except JaxmapError as error:
        fails_in_one_line(error)


@many(40)
@given(st.text(st.characters(exclude_characters=",{}"), min_size=1, max_size=20))
def test_folders_of_any_name(llama, text):
    """By the command: it says in one line that there is no such model."""
    folder = llama.parent
    listed = write_texts(folder / "texts.jsonl", ["x"])
    where = f"./{text}" if "/" not in text else f"./nowhere/{text}"
    ran = jaxmap("score", f"--store={folder}/s", f"--texts={listed}", f"--models={where}")
    assert ran.code in (0, 1, 2)
    assert "Traceback" not in ran.err


def test_what_is_spoilt_is_right_before(llama, store):
    """The base of the examples is fine: only what was changed is refused."""
    opened(llama)
    assert read_config(llama)["model_type"] == "llama"
    assert load_tokenizer(llama)
    assert jaxmap("status", f"--store={store}").code == 0
