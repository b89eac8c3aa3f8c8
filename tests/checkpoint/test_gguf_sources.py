"""GGUF files by reference: in folders, Git clones and on the Hub; whose tokenizer; faults."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.checkpoints import (
    LLAMA,
    TEXTS,
    add_tokenizer,
    make_checkpoint,
    score,
    tokenizer_json,
    write_texts,
)
from support.gguf_files import converted, write_gguf
from support.hubs import fake_of, serve

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.refs import parse_ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.errors import InputError

CONFIG = dict(LLAMA, hidden_size=32, intermediate_size=64, rms_norm_eps=1e-5)


def vocabulary() -> dict[str, Any]:
    """The metadata of the tests' tokenizer."""
    model = json.loads(tokenizer_json())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t == "<|endoftext|>" else 1 for t in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.eos_token_id": tokens.index("<|endoftext|>"),
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("gguf") / "hf", CONFIG)


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def go_online(patch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """The Hub is the server at this address."""
    constants = "huggingface_hub.constants"
    patch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
    patch.setattr(f"{constants}.ENDPOINT", address)
    patch.setattr(
        f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    patch.setattr(f"{constants}.HF_HUB_CACHE", str(cache))


def write(path: Path, source: Path, kind: str = "Q8_0", **more: Any) -> Path:
    architecture, metadata, tensors = converted(source)
    facts = {**vocabulary(), **more}
    write_gguf(path, architecture, metadata, tensors, kind=kind, file_type=7, more=facts)
    return path


def numbers(ref: object) -> dict[str, np.ndarray]:
    with weights.opened(fetch(resolve(parse_ref(str(ref)))).folder) as found:
        return dict(found.read())


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def refused(ref: object) -> str:
    with pytest.raises(InputError) as caught:
        numbers(ref)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_one_file_of_a_folder_needs_no_name_and_several_are_listed(source, tmp_path):
    path = write(tmp_path / "m" / "tiny-Q8_0.gguf", source)
    alone, named = (resolve(parse_ref(str(one))) for one in (path.parent, path))
    assert alone.commit == named.commit
    assert same(numbers(path.parent), numbers(path))
    other = write(tmp_path / "m" / "tiny-F16.gguf", source, kind="F16")
    (tmp_path / "m" / "mmproj-tiny.gguf").write_bytes(b"a projector")
    message = refused(path.parent)
    assert "tiny-F16.gguf, tiny-Q8_0.gguf" in message
    assert "mmproj" not in message
    assert resolve(parse_ref(str(path))).commit == named.commit
    assert resolve(parse_ref(str(other))).commit != named.commit
    assert not same(numbers(path), numbers(other))
    assert "tiny-Q8_0.gguf" in refused(tmp_path / "m" / "tiny-Q4_0.gguf")


def test_a_split_file_is_read_together(source, tmp_path):
    whole = write(tmp_path / "whole" / "m.gguf", source)
    architecture, metadata, tensors = converted(source)
    names = list(tensors)
    for n, part in enumerate((names[:3], names[3:9], names[9:]), start=1):
        write_gguf(
            tmp_path / "split" / f"m-{n:05d}-of-00003.gguf",
            architecture,
            metadata if n == 1 else {},
            {name: tensors[name] for name in part},
            kind="Q8_0",
            more={**(vocabulary() if n == 1 else {}), "split.tensors.count": len(names)},
        )
    assert same(numbers(tmp_path / "split"), numbers(whole))
    assert same(numbers(tmp_path / "split" / "m-00001-of-00003.gguf"), numbers(whole))
    assert "name the first" in refused(tmp_path / "split" / "m-00002-of-00003.gguf")
    (tmp_path / "split" / "m-00003-of-00003.gguf").unlink()
    assert "m-00003-of-00003.gguf" in refused(tmp_path / "split")


def test_scored_from_a_folder_a_clone_and_the_hub(source, tmp_path, monkeypatch):
    path = write(tmp_path / "m" / "tiny-Q8_0.gguf", source)
    write(tmp_path / "m" / "tiny-F16.gguf", source, kind="F16")
    want = numbers(path)
    clone = tmp_path / "clone"
    shutil.copytree(tmp_path / "m", clone)
    command = ["git", "-C", str(clone), "-c", "user.name=t", "-c", "user.email=t@t"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*command, *arguments], check=True)
    (clone / "tiny-Q8_0.gguf").unlink()
    (clone / "tiny-F16.gguf").unlink()
    ref = f"{clone}/tiny-Q8_0.gguf@main"
    assert same(numbers(ref), want)
    other = resolve(parse_ref(f"{clone}/tiny-F16.gguf@main"))
    assert other.commit != resolve(parse_ref(ref)).commit

    texts, store = write_texts(tmp_path / "texts.jsonl"), tmp_path / "store"
    fake = fake_of({"main": tmp_path / "m"}, repository="org/tiny")
    with serve(fake) as address:
        go_online(monkeypatch, address, tmp_path / "hub")
        assert same(numbers("org/tiny/tiny-Q8_0.gguf"), want)
        assert "GET tiny-F16.gguf" not in fake.asked
        assert "tiny-F16.gguf, tiny-Q8_0.gguf" in refused("org/tiny")
        ran = score(store, texts, path, ref, "org/tiny/tiny-Q8_0.gguf")
        assert ran.code == 0, ran.err
    from jaxmap.store.store import Store

    entries = Store.open(store).records()
    assert len(entries) == 3
    for entry in entries:
        facts = entry.provenance.model
        assert (facts["format"], facts["file_type"], facts["bits"]) == ("gguf", "Q8_0", 8)
        assert facts["num_bytes"] == path.stat().st_size
        assert facts["tokenizer"] == "the file's metadata"


def test_a_header_that_cannot_be_read_is_refused_before_the_rest_comes(
    source, tmp_path, monkeypatch
):
    path = write(tmp_path / "m" / "tiny.gguf", source, kind="F32")
    fill = bytes(8 << 20)
    name = b"\5\0\0\0\0\0\0\0llam"
    path.write_bytes(path.read_bytes().replace(name + b"a", name + b"b") + fill)
    fake = fake_of({"main": tmp_path / "m"}, repository="org/tiny")
    with serve(fake) as address:
        go_online(monkeypatch, address, tmp_path / "hub")
        assert "'llamb' is not read; nearest: llama" in refused("org/tiny")
    assert not list((tmp_path / "hub").rglob("*.gguf"))


def change(path: Path, edit: Callable[[bytearray], None]) -> Path:
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(bytes(content))
    return path


def test_damaged_files_are_refused_in_one_line(source, tmp_path):
    def fresh(name: str, **more: Any) -> Path:
        return write(tmp_path / name / "m.gguf", source, **more)

    path = fresh("version")
    change(path, lambda c: c.__setitem__(slice(4, 8), struct.pack("<I", 1)))
    assert "GGUF version 1" in refused(path)
    change(path, lambda c: c.__setitem__(slice(4, 8), struct.pack(">I", 3)))
    assert "big-endian" in refused(path)
    change(path, lambda c: c.__setitem__(slice(0, 4), b"GGML"))
    assert "not a GGUF file" in refused(path)

    path = fresh("short")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    message = refused(path)
    assert "truncated" in message
    assert str(path) in message
    path.write_bytes(whole[:3000])
    assert "the file ends within its header" in refused(path)
    path.write_bytes(b"")
    assert "empty" in refused(path)

    path = fresh("type")
    name = b"blk.0.attn_k.weight"
    at = path.read_bytes().index(name) + len(name) + 4 + 16
    change(path, lambda c: c.__setitem__(slice(at, at + 4), struct.pack("<I", 139)))
    message = refused(path)
    assert "blk.0.attn_k.weight has type number 139" in message
    assert str(path) in message

    path = fresh("unknown", **{"llama.attention.logit_cap": 3.0})
    assert "llama.attention.logit_cap" in refused(path)
    path = fresh("adapter", **{"general.type": "adapter"})
    assert "general.type is 'adapter'" in refused(path)

    architecture, metadata, tensors = converted(source)

    def lacking(name: str, **changes: Any) -> str:
        kept = {key: w for key, w in {**tensors, **changes}.items() if w is not None}
        path = tmp_path / name / "m.gguf"
        write_gguf(path, architecture, metadata, kept, more=vocabulary())
        return refused(path)

    message = lacking("missing", **{"blk.1.ffn_up.weight": None})
    assert f"{tmp_path / 'missing' / 'm.gguf'}: missing tensors: model.layers.1.mlp.up_" in message
    extra = np.ones((4, 4), np.float32)
    assert "nothing claims: blk.1.ffn_sub.weight" in lacking(
        "extra", **{"blk.1.ffn_sub.weight": extra}
    )
    assert "has shape [4, 4]" in lacking("shape", **{"blk.1.ffn_up.weight": extra})
    bad = tensors["blk.0.ffn_up.weight"].copy()
    bad[3, 5] = np.nan
    message = lacking_values(tmp_path / "nan", source, bad)
    assert f"{tmp_path / 'nan' / 'm.gguf'}: NaN" in message
    without = {key: value for key, value in metadata.items() if key != "block_count"}
    path = tmp_path / "keys" / "m.gguf"
    write_gguf(path, architecture, without, tensors, more=vocabulary())
    assert "llama.block_count is missing" in refused(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("block_count", 1 << 31, "block_count = 2147483648, but it has"),
        ("block_count", 1.5, "block_count = 1.5: must be a count"),
        ("attention.head_count", "x", "attention.head_count = 'x': must be a count"),
        ("attention.head_count_kv", True, "head_count_kv = True: must be a count"),
        ("attention.key_length", ["a"], "key_length = 'a': must be a count"),
        ("attention.layer_norm_rms_epsilon", "small", "_epsilon = 'small': must be a number"),
        ("rope.freq_base", [True], "rope.freq_base = True: must be a number"),
        ("feed_forward_length", float("inf"), "feed_forward_length = inf: must be a count"),
    ],
)
def test_metadata_of_other_types(key, value, message, source, tmp_path):
    path = write(tmp_path / "m.gguf", source, **{f"llama.{key}": value})
    found = refused(path)
    assert f"{path}: llama." in found
    assert message in found


def test_a_file_type_that_is_no_number_has_no_name(source, tmp_path):
    path = write(tmp_path / "m.gguf", source, **{"general.file_type": float("inf")})
    assert Checkpoint(fetch(resolve(parse_ref(str(path)))).folder).file_type == ""


def test_names_that_are_no_text_are_not_repeated(source, tmp_path):
    path = write(tmp_path / "m.gguf", source)
    for name in (b"blk.0.attn_k.weight", b"llama.block_count"):
        copy = tmp_path / "copy.gguf"
        copy.write_bytes(path.read_bytes().replace(name, b"\n\0\xff" + name[3:]))
        message = refused(copy)
        assert "corrupt: a key or a tensor is called '\\n\\x00" in message
        assert message.isprintable()


def lacking_values(folder: Path, source: Path, bad: np.ndarray) -> str:
    architecture, metadata, tensors = converted(source)
    tensors["blk.0.ffn_up.weight"] = bad
    write_gguf(folder / "m.gguf", architecture, metadata, tensors, more=vocabulary())
    with pytest.raises(InputError) as caught:
        weights.load(fetch(resolve(parse_ref(str(folder)))).folder)
    return str(caught.value)


def test_the_tokenizer_is_beside_the_file_or_of_the_base_or_of_the_metadata(
    source, tmp_path, monkeypatch
):
    path = write(tmp_path / "m" / "tiny.gguf", source)
    found = fetch(resolve(parse_ref(str(path))))
    assert found.tokenizer == "the file's metadata"
    made = load_tokenizer(found.folder)
    want = load_tokenizer(source)
    texts = TextSet(tuple(TEXTS))
    assert made.encode(texts).ids.tolist() == want.encode(texts).ids.tolist()
    add_tokenizer(path.parent)
    before = resolve(parse_ref(str(path)))
    assert fetch(before).tokenizer == "files beside the model"
    assert before.commit != found.commit

    other = json.loads(tokenizer_json())
    renamed = {("<|other|>" if t == "<|endoftext|>" else t): n
               for t, n in other["model"]["vocab"].items()}  # fmt: skip
    other["model"]["vocab"] = renamed
    other["added_tokens"] = []
    for same_tokens in (True, False):
        base = tmp_path / f"base {same_tokens}"
        base.mkdir()
        add_tokenizer(base)
        if not same_tokens:
            (base / "tokenizer.json").write_text(json.dumps(other))
            (base / "tokenizer_config.json").unlink()
        (base / "config.json").write_text("{}")
        card = {"general.base_model.0.repo_url": "https://hub.example/org/base"}
        path = write(tmp_path / f"named {same_tokens}" / "tiny.gguf", source, **card)
        fake = fake_of({"main": base}, repository="org/base")
        with serve(fake) as address, monkeypatch.context() as patch:
            go_online(patch, address, tmp_path / f"hub {same_tokens}")
            got = fetch(resolve(parse_ref(str(path)))).tokenizer
        assert got.startswith("org/base@") if same_tokens else got == "the file's metadata"
