"""Bad input: exit code 2, one line that names the file or flag, finished work untouched."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases.core import CASES
from support.checkpoints import (
    GPT2,
    LLAMA,
    NEOX,
    change_tensors,
    jaxmap,
    make_checkpoint,
    read_config,
    read_tensors,
    score,
    write_config,
    write_tensors,
    write_texts,
)

from jaxmap.architectures.registry import families
from jaxmap.checkpoint import weights
from jaxmap.errors import InputError
from jaxmap.store import Store

NORM = "gpt_neox.final_layer_norm.weight"
HEAD, EMBED = "embed_out.weight", "gpt_neox.embed_in.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a good checkpoint, texts, and a store in which it is done."""
    folder = tmp_path_factory.mktemp("made")
    make_checkpoint(folder / "good")
    write_texts(folder / "texts.jsonl")
    assert score(folder / "store", folder / "texts.jsonl", folder / "good").code == 0
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of it, with a second checkpoint `bad` to be spoilt."""
    shutil.copytree(made, tmp_path / "p")
    shutil.copytree(made / "good", tmp_path / "p" / "bad")
    return tmp_path / "p"


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(place: Path, *words: str, **flags: object) -> str:
    """Scores `bad`: exit 2 and one line with these words; the finished record stays as it was."""
    records = files(place / "store" / "records")
    ran = score(place / "store", place / "texts.jsonl", place / "bad", **flags)
    assert (ran.code, len(ran.messages)) == (2, 1), ran
    [line] = ran.messages
    assert line.startswith(f"{place}/bad")
    for word in words:
        assert word in line
    assert ran.out == "0 scored, 0 already done, 1 failed\n"  # the reason is on stderr, once
    assert files(place / "store" / "records") == records
    store = Store.open(place / "store")
    [failure] = store.failures()
    # The store says "name `this`" where the command line says "name --this".
    assert line.endswith(re.sub(r"`(\w+)(=\w+)?`", r"--\1\2", failure.reason))
    assert failure.kind == "input"
    assert [Path(entry.identity.ref).name for entry in store.records()] == ["good"]
    return line


def check_named(error: InputError, folder: Path) -> None:
    """One line that names the folder, or a file in it."""
    assert str(error).startswith(str(folder))
    assert "\n" not in str(error)


def config(**changes):
    """A spoiler that changes config.json; "delete" deletes a key."""

    def spoil(folder: Path) -> None:
        values = {**read_config(folder), **changes}
        write_config(folder, {k: v for k, v in values.items() if v != "delete"})

    return spoil


def tensors(change):
    return lambda folder: change_tensors(folder, change)


def put(name: str, index, value: float):
    def change(tensors):
        tensors[name][index] = value

    return tensors(change)


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def remove(*names: str):
    return lambda folder: [(folder / name).unlink() for name in names]


def small_vocabulary(folder: Path) -> None:
    config(vocab_size=64)(folder)
    change_tensors(folder, lambda t: t.update({n: t[n][:64] for n in (HEAD, EMBED)}))


def float8_head(folder: Path) -> None:
    """Both tied tensors are there, and one is of a dtype that NumPy cannot hold."""
    config(tie_word_embeddings=True)(folder)
    change_tensors(folder, lambda t: t.update({HEAD: t[HEAD].astype(ml_dtypes.float8_e4m3fn)}))


SPOILT = {
    "no folder": (shutil.rmtree, ["no such folder"]),
    "no config": (remove("config.json"), ["no config.json"]),
    "no weights": (remove("model.safetensors"), ["no weights", "model.safetensors"]),
    "no tokenizer": (
        remove("tokenizer.json", "tokenizer_config.json"),
        ["no tokenizer", "save_pretrained"],
    ),
    "tokenizer not JSON": (write("tokenizer.json", b"{"), ["tokenizer"]),
    "tokenizer config not JSON": (write("tokenizer_config.json", b"{"), ["tokenizer_config.json"]),
    "other formats": (
        lambda folder: (folder / "model.safetensors").rename(folder / "flax_model.msgpack"),
        ["Flax"],
    ),
    "unknown type": (
        config(model_type="berty"),
        ["unknown model type 'berty'", ", ".join(sorted(families()))],
    ),
    "no type": (config(model_type="delete"), ["config.json", "model_type is missing"]),
    "not JSON": (write("config.json", b'{"model_type": '), ["config.json", "not JSON"]),
    "empty config": (write("config.json", b""), ["config.json", "not JSON"]),
    "config a list": (write("config.json", b"[]"), ["config.json", "not a JSON object"]),
    "config not UTF-8": (write("config.json", b'{"a": "\xff"}'), ["config.json", "not JSON"]),
    "config too deep": (write("config.json", b"[" * 100_000), ["config.json", "not JSON"]),
    "config too long a number": (
        write("config.json", b'{"a": ' + b"9" * 5000 + b"}"),
        ["config.json", "not JSON"],
    ),
    "quantised": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        ["config.json", "quantised (gptq)"],
    ),
    "unread key": (config(logit_cap=30.0), ["logit_cap=30.0", "--ignore_config_keys"]),
    "unread rope key": (
        config(rope_scaling={"type": "linear", "factor": 2.0, "wobble": 1}),
        ["rope_scaling", "wobble"],
    ),
    "unknown rope": (config(rope_scaling={"type": "wide", "factor": 2.0}), ["rope_type 'wide'"]),
    "unknown activation": (config(hidden_act="snake"), ["unknown activation 'snake'", "known:"]),
    "wrong shape": (
        tensors(lambda t: t.update({NORM: np.ones(15, np.float32)})),
        ["model.safetensors", NORM, "[15]", "[16]"],
    ),
    "transposed": (
        tensors(lambda t: t.update({EMBED: np.ascontiguousarray(t[EMBED].T)})),
        [EMBED, "[16, 300]", "[300, 16]"],
    ),
    "unclaimed": (
        tensors(lambda t: t.update({"gpt_neox.gate.weight": np.ones(3, np.float32)})),
        ["nothing claims: gpt_neox.gate.weight"],
    ),
    "missing tensor": (tensors(lambda t: t.pop(NORM)), [f"missing tensors: {NORM}"]),
    "renamed tensor": (
        tensors(lambda t: t.update({"gpt_neox.final_norm.weight": t.pop(NORM)})),
        ["missing", "nearest in the files: gpt_neox.final_norm.weight", "nothing claims"],
    ),
    "whole numbers": (
        tensors(lambda t: t.update({NORM: np.ones(16, np.int8)})),
        [NORM, "stored as I8"],
    ),
    "float8": (
        tensors(lambda t: t.update({NORM: t[NORM].astype(ml_dtypes.float8_e4m3fn)})),
        [NORM, "stored as F8_E4M3"],
    ),
    "float8 tied": (float8_head, [HEAD, "stored as F8_E4M3"]),
    "more layers": (config(num_hidden_layers=3), ["missing tensors: gpt_neox.layers.2."]),
    "fewer layers": (config(num_hidden_layers=1), ["nothing claims: gpt_neox.layers.1."]),
    "NaN": (put(NORM, 3, np.nan), ["NaN or infinite weights", NORM]),
    "infinite": (put(EMBED, (7, 2), -np.inf), ["NaN or infinite weights", EMBED]),
    "NaN in a layer": (
        put("gpt_neox.layers.1.mlp.dense_4h_to_h.bias", 0, np.nan),
        ["NaN or infinite weights in gpt_neox.layers.1.mlp.dense_4h_to_h.bias"],
    ),
    "NaN scores": (
        tensors(lambda t: t.update({n: np.full_like(t[n], 1e38) for n in (HEAD, NORM)})),
        ["scores are NaN or infinite"],
    ),
    "small vocabulary": (small_vocabulary, ["the model's vocabulary has 64 entries", "tokenizer"]),
    "Git LFS pointer": (
        write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        ["Git LFS pointer", "git lfs pull"],
    ),
    "index not JSON": (
        lambda folder: (
            remove("model.safetensors")(folder),
            write("model.safetensors.index.json", b"{")(folder),
        ),
        ["model.safetensors.index.json"],
    ),
    "shard outside": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder.parent / "stolen.safetensors"),
            write(
                "model.safetensors.index.json",
                json.dumps({"weight_map": {NORM: "../stolen.safetensors"}}).encode(),
            )(folder),
        ),
        ["outside the folder"],
    ),
    "missing shard": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors"),
            write(
                "model.safetensors.index.json",
                json.dumps({"weight_map": {NORM: "model-00002-of-00002.safetensors"}}).encode(),
            )(folder),
        ),
        ["model-00002-of-00002.safetensors"],
    ),
    "index lies": (
        lambda folder: (
            change_tensors(folder, lambda t: t.pop(EMBED)),
            (folder / "model.safetensors").rename(folder / "a.safetensors"),
            write(
                "model.safetensors.index.json",
                json.dumps({"weight_map": {EMBED: "a.safetensors"}}).encode(),
            )(folder),
        ),
        [EMBED, "the index puts", "a.safetensors"],
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_spoilt_checkpoint(case, place):
    spoil, words = SPOILT[case]
    spoil(place / "bad")
    refused(place, *words)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "16"),
        ("hidden_size", -16),
        ("hidden_size", 16.0),
        ("hidden_size", 10**30),
        ("num_attention_heads", 0),
        ("num_attention_heads", [2]),
        ("num_attention_heads", True),
        ("num_hidden_layers", 10**12),
        ("vocab_size", None),
        ("model_type", ["gpt_neox"]),
        ("model_type", None),
        ("rotary_pct", 3.0),
        ("rotary_emb_base", float("nan")),
        ("layer_norm_eps", None),
        ("layer_norm_eps", -1e-5),
        ("rope_scaling", "linear"),
        ("max_position_embeddings", {}),
        ("tie_word_embeddings", "no"),
        ("use_parallel_residual", 1),
    ],
)
def test_wrong_value_is_named(key, value, place):
    config(**{key: value})(place / "bad")
    line = refused(place, "config.json", key)
    assert re.search(f"{key}( = .+: (must be|null)| is )", line)


def test_ignored_config_key_lets_it_through(place):
    config(logit_cap=30.0)(place / "bad")
    where = place / "store", place / "texts.jsonl", place / "bad"
    assert score(*where, ignore_config_keys="other").code == 2
    assert score(*where, ignore_config_keys="other,logit_cap").code == 0
    assert Store.open(place / "store").failures() == []


def test_float16_overflow(place):
    put(EMBED, (0, 0), 1e6)(place / "bad")
    refused(place, "overflow float16", EMBED, "--dtype=float32", dtype="float16")


def test_float16_overflow_of_activations(place):
    """Every weight fits into float16, the products do not; float32 holds them."""
    change_tensors(
        place / "bad",
        lambda t: t.update({n: np.full_like(a, 6e4) for n, a in t.items() if "layers.1.mlp" in n}),
    )
    assert score(place / "other", place / "texts.jsonl", place / "bad").code == 0
    refused(place, "scores are NaN or infinite", "try --dtype=float32", dtype="float16")


def header_size(content: bytes) -> int:
    return 8 + int.from_bytes(content[:8], "little")


@pytest.mark.parametrize(
    "cut", ["0", "1", "7", "8", "9", "head // 2", "head", "head + 1", "size - 1"]
)
def test_truncated_safetensors(cut, place):
    path = place / "bad" / "model.safetensors"
    content = path.read_bytes()
    names = {"head": header_size(content), "size": len(content)}
    path.write_bytes(content[: eval(cut, names)])
    refused(place, "model.safetensors", "truncated or corrupt")


def test_extended_safetensors(place):
    path = place / "bad" / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0\0\0\0")
    refused(place, "model.safetensors", "truncated or corrupt")


def test_flipped_bytes_in_the_header(made, tmp_path):
    """Never anything but a named refusal, or a load where the byte meant nothing."""
    folder = shutil.copytree(made / "good", tmp_path / "flipped")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    random = np.random.default_rng(5)
    refusals = 0
    for place in [*range(9), *random.integers(8, header_size(content), 60)]:
        spoilt = bytearray(content)
        spoilt[place] ^= int(random.integers(1, 256))
        path.write_bytes(spoilt)
        try:
            weights.load(folder)
        except InputError as error:
            check_named(error, folder)
            refusals += 1
    assert refusals > 50


class Payload:
    """Pickles as a call that makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_pickled_code_is_refused_and_never_runs(form, place):
    torch = pytest.importorskip("torch")
    trap = place / "ran"
    state = {n: torch.from_numpy(a) for n, a in read_tensors(place / "bad").items()}
    state["extra"] = Payload(trap)
    (place / "bad" / "model.safetensors").unlink()
    path = place / "bad" / "pytorch_model.bin"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"extra": Payload(trap)}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    refused(place, "pytorch_model.bin", "refused")
    assert not trap.exists()
    if form == "pickle":
        pickle.loads(path.read_bytes())
        assert trap.exists(), "the trap itself works"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "EOFError"), (b"PK\x03\x04", "zip"), (b"not a pickle at all", "Unsupported operand")],
)
def test_damaged_bin(content, reason, place):
    pytest.importorskip("torch")
    (place / "bad" / "model.safetensors").unlink()
    (place / "bad" / "pytorch_model.bin").write_bytes(content)
    refused(place, "pytorch_model.bin", "corrupt", reason)


def test_truncated_bin(place):
    torch = pytest.importorskip("torch")
    path = place / "bad" / "pytorch_model.bin"
    torch.save({n: torch.from_numpy(a) for n, a in read_tensors(place / "bad").items()}, path)
    (place / "bad" / "model.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:-200])
    refused(place, "pytorch_model.bin", "truncated or corrupt")


def test_bin_that_holds_no_tensors(place):
    torch = pytest.importorskip("torch")
    (place / "bad" / "model.safetensors").unlink()
    torch.save([torch.zeros(3)], place / "bad" / "pytorch_model.bin")
    refused(place, "pytorch_model.bin", "holds a list")


def test_tokenizer_that_is_code_never_runs(place):
    trap = place / "ran"
    bad = place / "bad"
    facts = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (bad / "tokenizer_config.json").write_text(json.dumps(facts))
    (bad / "tokenizer.json").rename(bad / "vocab.json")
    (bad / "evil.py").write_text(f"open({str(trap)!r}, 'w').close()\n")
    refused(place, "code of the checkpoint (evil.Evil)", "never run")
    assert not trap.exists()


# Texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", b"", ["no texts"]),
        ("blank.jsonl", b"\n\n", ["no texts"]),
        ("list.jsonl", b'{"text": "a"}\n\n["b"]\n', ["line 3", "not an object"]),
        ("number.jsonl", b'{"text": "a"}\n5\n', ["line 2", "not an object"]),
        ("broken.jsonl", b'{"text": "a"}\n{"text": \n', ["line 2", "not JSON"]),
        ("field.jsonl", b'{"txt": "a"}\n', ["line 1", "no `text`"]),
        ("kind.jsonl", b'{"text": 3}\n', ["line 1", "not a string"]),
        ("bytes.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ["line 2", "invalid UTF-8"]),
        ("half.jsonl", b'{"text": "a"}\n{"prompt": "a"}\n', ["line 2", "alone"]),
        ("mixed.jsonl", b'{"text": "a"}\n{"prompt": "a", "response": "b"}\n', ["line 2", "pair"]),
        ("bytes.txt", b"good\nb\xffd\n", ["line 2", "invalid UTF-8"]),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00", ["truncated or corrupt"]),
        ("texts.parquet", b"", ["unknown kind", ".jsonl"]),
        ("object.json", b"{}", ["not a list"]),
    ],
)
def test_bad_texts(name, content, words, made, tmp_path):
    texts = tmp_path / name
    texts.write_bytes(content)
    ran = score(tmp_path / "store", texts, made / "good")
    assert (ran.code, len(ran.messages), ran.out) == (2, 1, "")
    for word in [str(texts), *words]:
        assert word in ran.messages[0]
    assert not (tmp_path / "store").exists()


def test_missing_texts(made, tmp_path):
    ran = score(tmp_path / "store", tmp_path / "no.jsonl", made / "good")
    assert (ran.code, ran.messages) == (2, [f"{tmp_path}/no.jsonl: no such file"])


def test_duplicate_texts_are_a_warning(made, tmp_path):
    texts = write_texts(tmp_path / "t.jsonl", ["a b c", "d", "a b c"])
    ran = score(tmp_path / "store", texts, made / "good")
    assert ran.code == 0
    [line] = ran.messages
    assert "1 of 3 texts repeat" in line
    assert "texts 1 and 3" in line
    [entry] = Store.open(tmp_path / "store").records()
    scores = Store.open(tmp_path / "store").load(entry).log_likelihood
    assert abs(scores[0] - scores[2]) < 1e-4


# Store -------------------------------------------------------------------------------------------


def test_store_is_a_file(made, tmp_path):
    (tmp_path / "store").write_text("precious")
    ran = score(tmp_path / "store", made / "texts.jsonl", made / "good")
    assert ran.code == 2
    assert len(ran.messages) == 1
    assert f"{tmp_path}/store: is a file" in ran.messages[0]
    for command in ("status", "export", "kl"):
        out = [] if command == "status" else [f"--out={tmp_path}/out.csv"]
        ran = jaxmap(command, f"--store={tmp_path}/store", *out)
        assert (ran.code, len(ran.messages)) == (2, 1)
    assert (tmp_path / "store").read_text() == "precious"


def test_store_under_a_file(made, tmp_path):
    (tmp_path / "file").write_text("precious")
    ran = score(tmp_path / "file" / "store", made / "texts.jsonl", made / "good")
    assert (ran.code, len(ran.messages)) == (2, 1)
    assert f"{tmp_path}/file/store" in ran.messages[0]
    assert "a part of the path is a file" in ran.messages[0]


def test_no_store(tmp_path):
    ran = jaxmap("status", f"--store={tmp_path}/none")
    assert (ran.code, len(ran.messages)) == (2, 1)
    assert f"{tmp_path}/none: holds no store" in ran.messages[0]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./none", "no such folder"),
        ("~/none", "no such folder"),
        ("none.gguf", "no such file"),
        ("good/none.gguf", "no such file"),
        ("good/none.safetensors", "no such file"),
        ("good/model.safetensors", "is a file; name the folder that it is in, good"),
        ("org/name/model.safetensors", "no such file"),
    ],
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(name, reason, place, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("jaxmap.checkpoint.sources.hub.resolve", asked)
    monkeypatch.chdir(place)
    ran = score(place / "store", place / "texts.jsonl", name)
    assert (ran.code, len(ran.messages)) == (2, 1)
    assert reason in ran.messages[0]
    assert ran.messages[0].count(name.removeprefix("~")) == 1  # the name once


def test_a_name_that_begins_as_a_folder_does_is_mentioned(place, monkeypatch):
    from jaxmap.checkpoint.refs import folder_like

    monkeypatch.chdir(place)
    (place / "org" / "base").mkdir(parents=True)
    names = ("org/none", "org/base", "elsewhere/none", "./org/none", "org")
    assert [folder_like(name) for name in names] == ["org", "", "", "", ""]


def test_the_name_is_left_out_of_a_reason_only_at_its_head():
    from jaxmap.errors import without_name

    assert without_name("a/b: no such model", "a/b@c", "a/b") == "no such model"
    assert without_name("a/b@c, x: bad", "a/b@c", "a/b") == "x: bad"
    assert without_name("a/config.json: not JSON", "a") == "config.json: not JSON"
    for message in ("a/bc: no such model", "of a/b: bad", "a/b"):
        assert without_name(message, "a/b", "") == message


def test_store_of_other_texts(place):
    before = files(place / "store")
    other = write_texts(place / "other.jsonl", ["something else"])
    ran = score(place / "store", other, place / "good")
    assert (ran.code, len(ran.messages)) == (2, 1)
    for word in (f"{place}/store: made with other texts", "other.jsonl", "another --store"):
        assert word in ran.messages[0]
    assert files(place / "store") == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_disk_that_refuses(code, place, monkeypatch):
    """The first checkpoint fits, the second's record does not."""
    shutil.copytree(place / "good", place / "one")
    change_tensors(place / "one", lambda t: t.update({NORM: t[NORM] * 2}))
    real, written = os.replace, []

    def replace(source, target):
        if Path(target).parent.name == "records":
            written.append(target)
            if len(written) > 1:
                raise OSError(code, os.strerror(code))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    change_tensors(place / "bad", lambda t: t.update({NORM: t[NORM] * 3}))
    ran = score(place / "store", place / "texts.jsonl", place / "one", place / "bad")
    monkeypatch.undo()
    assert len(written) == 2
    assert (ran.code, len(ran.messages)) == (2, 1)
    reason = {errno.ENOSPC: "the disk is full", errno.EROFS: "read-only"}[code]
    assert f"{place}/store/records/" in ran.messages[0]
    assert reason in ran.messages[0]
    names = [Path(e.identity.ref).name for e in Store.open(place / "store").records()]
    assert names == ["good", "one"]
    assert not [name for name in files(place / "store") if name.endswith(".tmp")]
    assert jaxmap("status", f"--store={place}/store").code == 0
    assert score(place / "store", place / "texts.jsonl", place / "one", place / "bad").code == 0


# Flags -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scroe"], ["unknown command 'scroe'", "did you mean score", "status"]),
        (["frobnicate"], ["unknown command 'frobnicate'", "score", "export"]),
        (["score", "--modles=x"], ["unknown flag --modles", "did you mean --models", "--help"]),
        (["score", "--zzz"], ["unknown flag --zzz"]),
        (["score", "--dtype=int8"], ["--dtype", "int8", "float32"]),
        (["score", "--batch_tokens=-1"], ["batch_tokens"]),
        (["score", "--batch_tokens=many"], ["batch_tokens", "many"]),
        (["score", "--store=s", "--texts=t"], ["--models is required"]),
        (["score", "models"], ["unexpected argument 'models'", "--name=value"]),
        (["score", "--store"], ["store"]),
        (["status"], ["--store is required"]),
        (["kl", "--store=s"], ["--out is required"]),
    ],
)
def test_bad_flags(arguments, words):
    ran = jaxmap(*arguments)
    assert (ran.code, ran.out, len(ran.messages)) == (2, "", 1)
    for word in words:
        assert word in ran.messages[0]


@pytest.mark.parametrize("models", ["a@", "{a,b", "org/name@step{5:1:2}", ",", "a,,b"])
def test_bad_models(models, place):
    ran = score(place / "store", place / "texts.jsonl", models)
    assert (ran.code, len(ran.messages), ran.out) == (2, 1, "")
    assert "--models" in ran.messages[0] or models.strip(",") in ran.messages[0]


def test_bad_pairs_and_endings(place):
    for flags, word in (
        (["kl", f"--out={place}/kl.csv", "--pairs=sideways"], "sideways"),
        (["kl", f"--out={place}/kl.csv", "--pairs=a:b"], "a"),
        (["export", f"--out={place}/x.parquet"], ".parquet"),
        (["export", f"--out={place}/texts.jsonl/x.npz"], "texts.jsonl"),
    ):
        ran = jaxmap(*flags, f"--store={place}/store")
        assert (ran.code, len(ran.messages)) == (2, 1)
        assert word in ran.messages[0]
    assert not (place / "kl.csv").exists()


# Any mutation of config.json ---------------------------------------------------------------------

BASES = {
    "gpt_neox": NEOX,
    "gpt2": GPT2,
    "llama": LLAMA,
    **{name: CASES[name] for name in ("qwen2-layer-types", "mistral")},
    **{name: CASES[name] for name in CASES if "-rope-" in name},
}
VALUES = [
    "delete", None, "64", "x", 0, -1, 1, 2.5, 10**12, 10**400, True, False, [], ["x"], [1], {},
    {"a": 1}, float("nan"), float("inf"), -1.5, 1e-300,
]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutated")
    return {name: make_checkpoint(folder / name, base) for name, base in BASES.items()}


def test_any_mutation_of_config_is_taken_or_refused_by_name(checkpoints):
    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def mutate(data):
        name = data.draw(st.sampled_from(sorted(BASES)))
        mutated = copy.deepcopy(BASES[name])
        nested = mutated.get("rope_parameters")
        inside = bool(nested) and data.draw(st.booleans())
        where = nested if inside else mutated
        key = data.draw(st.sampled_from(sorted(where)))
        value = data.draw(st.sampled_from(VALUES))
        if value == "delete":
            del where[key]
        else:
            where[key] = value
        folder = checkpoints[name]
        write_config(folder, mutated)
        try:
            weights.load(folder)
        except InputError as error:
            check_named(error, folder)

    mutate()


def test_written_tensors_are_what_was_read(made, tmp_path):
    """The helper that spoils checkpoints changes nothing by itself."""
    folder = shutil.copytree(made / "good", tmp_path / "same")
    write_tensors(folder, read_tensors(folder))
    ours, theirs = read_tensors(folder), read_tensors(made / "good")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
