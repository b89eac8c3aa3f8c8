"""The Hub, played by a small server on this machine that can refuse, fail, lie and hang up."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from support.hubs import COMMIT, Fake, serve

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources import files as files_module
from jaxmap.checkpoint.sources.hub import Hub, fetch, resolve
from jaxmap.checkpoint.sources.hub_client import DiskFullError
from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.errors import InputError, JaxmapError

LATER = "fedcba9876543210fedcba9876543210fedcba98"
REF = Ref("org/tiny", "step3")
WEIGHTS = bytes(range(256)) * 2000


@pytest.fixture
def fake():
    contents = {
        "config.json": b'{"model_type": "gpt_neox"}',
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b"{ }",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": b"pickle",
        "model.fp16.safetensors": b"variant",
        "modeling_tiny.py": b"raise SystemExit",
        "onnx/model.onnx": b"onnx",
        "original/consolidated.00.pth": b"other",
        "optimizer.pt": b"state",
        "README.md": b"words",
    }
    branches = {"main": LATER, **{f"step{i}": COMMIT for i in (0, 1, 2, 3, 1000)}}
    return Fake(contents, branches)


@pytest.fixture
def waits(monkeypatch):
    """Makes every wait instant, the client library's own too, and notes ours."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return []


@pytest.fixture
def hub(fake, waits, tmp_path, monkeypatch):
    import huggingface_hub

    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    with serve(fake) as address:
        yield Hub(
            endpoint=address,
            cache=tmp_path / "cache é 1",
            offline=False,
            retry=Retry(sleep=waits.append),
        )
        huggingface_hub.close_session()


def gets(fake: Fake) -> dict[str, int]:
    return {
        key.removeprefix("GET "): n
        for key, n in fake.asked.items()
        if key.startswith("GET") and key not in ("GET info", "GET refs")
    }


def refused(action, kind: type[JaxmapError]) -> str:
    with pytest.raises(JaxmapError) as caught:
        action()
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_downloads_what_matters_once(fake, hub, waits):
    resolved = resolve(REF, hub)
    assert resolved.commit == COMMIT
    assert fake.asked == {"GET info": 1}
    assert resolved.num_bytes == len(WEIGHTS) + 26 + 2 + 3

    found = fetch(resolved, hub)
    wanted = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert gets(fake) == dict.fromkeys(wanted, 1)
    assert [file.name for file in found.files] == wanted
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert found.folder == hub.cache / "models--org--tiny" / "snapshots" / COMMIT
    assert sorted(path.name for path in found.folder.iterdir()) == wanted

    before = fake.asked.total()
    assert fetch(resolve(REF, hub), hub) == found
    assert fake.asked.total() == before + 1
    assert waits == []


def test_branch_that_moves_does_not_mix(fake, hub):
    resolved = resolve(REF, hub)
    fake.branches["step3"] = LATER
    assert fetch(resolved, hub).commit == COMMIT
    assert resolve(REF, hub).commit == LATER
    assert resolve(Ref("org/tiny"), hub).commit == LATER


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_of_the_index(fake, hub, suffix):
    for name in ("model.safetensors", "pytorch_model.bin", "model.fp16.safetensors"):
        del fake.contents[name]
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    parts = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    index = f"{stem}.{suffix}.index.json"
    fake.contents |= {name: name.encode() for name in parts}
    fake.contents[f"{stem}.fp16-00001-of-00002.{suffix}"] = b"variant"
    weight_map = {"a": parts[1], "b": parts[0], "c": parts[0]}
    fake.contents[index] = json.dumps({"weight_map": weight_map}).encode()
    resolved = resolve(REF, hub)
    assert resolved.num_bytes == 31 + sum(len(fake.contents[name]) for name in (index, *parts))
    found = fetch(resolved, hub)
    assert {index, *parts} <= set(gets(fake))
    assert not [name for name in gets(fake) if "fp16" in name]
    assert [file.name for file in found.files if "-of-" in file.name] == parts

    fake.contents[index] = json.dumps({"weight_map": {"a": "model-00009-of-00002.bin"}}).encode()
    fake.branches["step3"] = LATER
    assert "model-00009-of-00002.bin" in refused(lambda: fetch(resolve(REF, hub), hub), InputError)
    fake.contents[index] = json.dumps({"weight_map": {"a": "../../etc"}}).encode()
    fake.branches["step3"] = COMMIT[::-1]
    assert "outside the folder" in refused(lambda: fetch(resolve(REF, hub), hub), InputError)


def test_shards_with_names_of_their_own(fake, hub):
    del fake.contents["model.safetensors"]
    parts = ["left.safetensors", "right.safetensors"]
    fake.contents |= {name: name.encode() for name in parts}
    weight_map = {"a": parts[0], "b": parts[1]}
    index = json.dumps({"weight_map": weight_map}).encode()
    fake.contents["model.safetensors.index.json"] = index
    names = [file.name for file in fetch(resolve(REF, hub), hub).files]
    assert [name for name in names if name.endswith(".safetensors")] == parts
    assert "model.fp16.safetensors" not in gets(fake)


def test_retry_after_is_obeyed(fake, hub, waits, capsys):
    fake.plans["GET info"] = [
        (429, {"Retry_After": "7"}),
        (429, {"RateLimit": '"api";r=0;t=55', "RateLimit_Policy": '"fixed window";"api";q=5;w=9'}),
        (503, {"Retry_After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    ]
    assert resolve(REF, hub).commit == COMMIT
    assert waits == [8, 56, 1]
    assert fake.asked == {"GET info": 4}
    assert "HTTP 429; try 1 of 6, next in 8 s" in capsys.readouterr().err


def test_waits_double_and_end(fake, hub, waits):
    fake.plans["GET info"] = [(503, {}), "reset", (500, {}), (502, {}), (504, {}), (503, {})]
    message = refused(lambda: resolve(REF, hub), JaxmapError)
    assert "HTTP 503 after 6 tries" in message
    assert fake.asked == {"GET info": 6}
    assert len(waits) == 5
    assert all(2 * 2**i <= wait <= 3 * 2**i for i, wait in enumerate(waits))


def test_wait_too_long_is_refused(fake, hub, waits):
    fake.plans["GET info"] = [(429, {"Retry_After": "86400"})]
    message = refused(lambda: resolve(REF, hub), JaxmapError)
    assert "86400 s" in message
    assert "HF_TOKEN" in message
    assert waits == []


def test_nobody_listens(hub, waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = Hub(f"http://127.0.0.1:{free.getsockname()[1]}", hub.cache, False, hub.retry)
        message = refused(lambda: resolve(REF, gone), JaxmapError)
    assert "after 6 tries" in message
    assert "HF_HUB_OFFLINE" in message
    assert len(waits) == 5


@pytest.mark.parametrize(
    "faults",
    [["half"], ["reset"], [(503, {})], [(429, {"Retry_After": "3"})], ["half", "reset", (500, {})]],
    ids=str,
)
def test_download_survives(fake, hub, faults):
    fake.plans["GET model.safetensors"] = list(faults)
    found = fetch(resolve(REF, hub), hub)
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert fake.plans["GET model.safetensors"] == []
    assert gets(fake)["model.safetensors"] == len(faults) + 1
    assert gets(fake)["config.json"] == 1


def test_look_up_of_a_file_survives(fake, hub, waits):
    """The client library, which has tries of its own, then says "not in the cache"."""
    patient = Hub(hub.endpoint, hub.cache, False, Retry(tries=10, sleep=waits.append))
    fake.plans["HEAD config.json"] = [(503, {})] * 8 + ["reset"]
    found = fetch(resolve(REF, hub), patient)
    assert (found.folder / "config.json").is_file()
    assert fake.asked["HEAD config.json"] == 10


def test_failed_download_goes_on_where_it_stopped(fake, hub):
    fake.plans["GET model.safetensors"] = [(503, {})] * 6
    message = refused(lambda: fetch(resolve(REF, hub), hub), JaxmapError)
    assert "HTTP 503 after 6 tries" in message
    # Half a checkpoint is not taken for a whole one.
    offline = Hub(cache=hub.cache, offline=True)
    assert "not in the cache" in refused(lambda: resolve(REF, offline), InputError)
    at_commit = Ref(REF.name, COMMIT)
    assert "weights are missing" in refused(lambda: resolve(at_commit, offline), InputError)
    fetch(resolve(REF, hub), hub)
    assert gets(fake) == {
        "config.json": 1,
        "model.safetensors": 7,
        "tokenizer.json": 1,
        "tokenizer_config.json": 1,
    }


def test_wrong_hash_is_deleted_and_asked_for_once_more(fake, hub, capsys):
    fake.lies["model.safetensors"] = "ab" * 32
    resolved = resolve(REF, hub)
    message = refused(lambda: fetch(resolved, hub), JaxmapError)
    assert "model.safetensors" in message
    assert "SHA-256" in message
    assert gets(fake)["model.safetensors"] == 2
    assert not (resolved.folder / "model.safetensors").exists()
    assert not list(hub.cache.rglob("ab" * 32))
    assert "does not match" in capsys.readouterr().err

    fake.lies.clear()
    found = fetch(resolve(REF, hub), hub)
    assert (found.folder / "model.safetensors").read_bytes() == WEIGHTS


def test_refusals_are_not_repeated(fake, hub, waits):
    fake.plans["GET info"] = [(403, {"X_Error_Code": "GatedRepo"})]
    message = refused(lambda: resolve(REF, hub), InputError)
    assert "gated" in message
    assert "HF_TOKEN" in message
    fake.plans["GET info"] = [(401, {})]
    assert "HTTP 401" in refused(lambda: resolve(REF, hub), InputError)
    assert "no such model" in refused(lambda: resolve(Ref("org/none"), hub), InputError)
    fake.plans["GET info"] = [(404, {})]
    assert "HTTP 404" in refused(lambda: resolve(REF, hub), InputError)
    assert fake.asked == {"GET info": 4}
    assert waits == []
    assert "not a name" in refused(lambda: resolve(Ref("a--b"), hub), InputError)

    resolved = resolve(REF, hub)
    fake.plans["HEAD config.json"] = [(401, {"X_Error_Code": "GatedRepo"})]
    assert "gated" in refused(lambda: fetch(resolved, hub), InputError)
    assert gets(fake) == {}


def test_missing_revision_names_the_nearest(fake, hub):
    message = refused(lambda: resolve(Ref("org/tiny", "step4"), hub), InputError)
    assert "no revision 'step4'" in message
    assert "nearest: step3, step2, step1, step0, step1000" in message
    assert fake.asked == {"GET info": 1, "GET refs": 1}
    fake.plans["GET refs"] = [(500, {})]
    message = refused(lambda: resolve(Ref("org/tiny", "step4"), hub), InputError)
    assert "could not be listed" in message


def test_answer_that_is_not_the_hubs(fake, hub):
    fake.plans["GET info"] = [(200, {"Content_Type": "text/html"})]
    assert "HF_ENDPOINT" in refused(lambda: resolve(REF, hub), JaxmapError)


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ([], "no config.json"),
        (["config.json"], "no weights"),
        (["config.json", "flax_model.msgpack"], "only Flax weights (flax_model.msgpack)"),
        (["config.json", "x.Q4.gguf", "y.gguf"], "holds 2 GGUF files"),
        (["config.json", "adapter_model.safetensors"], "only adapter (LoRA) weights"),
        (["config.json", "model.fp16.safetensors"], "only variant weights"),
        (["config.json", "model-00001-of-00002.safetensors"], "no index"),
    ],
)
def test_no_checkpoint(fake, hub, left, reason):
    fake.contents = dict.fromkeys(left, b"x")
    assert reason in refused(lambda: resolve(REF, hub), InputError)
    assert gets(fake) == {}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (b'{"model_type": "no such type"}', "unknown model type 'no such type'"),
        (
            b'{"model_type": "llama", "quantization_config": {"quant_method": "hqq"}}',
            "stored quantised (hqq)",
        ),
    ],
)
def test_what_cannot_be_read_is_not_downloaded(config, reason, fake, hub):
    fake.contents["config.json"] = config
    resolved = resolve(REF, hub)
    assert reason in refused(lambda: fetch(resolved, hub), InputError)
    assert set(gets(fake)) == {"config.json"}


def test_settings_beside_config_are_asked_before_the_weights_come(fake, hub):
    fake.contents["config.json"] = b'{"model_type": "llama"}'
    fake.contents["quantize_config.json"] = b'{"bits": 5, "group_size": 32}'
    resolved = resolve(REF, hub)
    assert "bits = 5" in refused(lambda: fetch(resolved, hub), InputError)
    assert set(gets(fake)) == {"config.json", "quantize_config.json"}


def test_token_is_sent(fake, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(resolve(REF, hub), hub)
    assert fake.tokens == {"Bearer hf_secret"}


def test_offline(fake, hub):
    found = fetch(resolve(REF, hub), hub)
    before = fake.asked.total()
    offline = Hub(endpoint=hub.endpoint, cache=hub.cache, offline=True)
    resolved = resolve(REF, offline)
    assert resolved.commit == COMMIT
    assert files_module.fetch(resolved) == found
    assert resolve(Ref(REF.name, COMMIT), offline).commit == COMMIT

    message = refused(lambda: resolve(Ref(REF.name, "step4"), offline), InputError)
    assert "nearest: step3" in message
    assert "unset HF_HUB_OFFLINE" in message
    assert "not in the cache" in refused(lambda: resolve(Ref("org/none"), offline), InputError)
    blob = (found.folder / "model.safetensors").resolve()
    blob.unlink()
    message = refused(lambda: resolve(REF, offline), InputError)
    assert "model.safetensors is missing" in message
    assert fake.asked.total() == before


def test_disk_full(fake, hub, monkeypatch):
    resolved = resolve(REF, hub)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 10, 10))
        message = refused(lambda: fetch(resolved, hub), DiskFullError)
    assert "disk full" in message
    assert "HF_HOME" in message
    assert gets(fake) == {}

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        assert "disk full" in refused(lambda: fetch(resolved, hub), DiskFullError)
    assert fake.asked["GET config.json"] == 0
    assert fetch(resolved, hub).commit == COMMIT


def test_environment_is_honoured(fake, hub, tmp_path):
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, in a process of its own, through the front door."""
    script = (
        "from jaxmap.checkpoint.sources.files import fetch, resolve\n"
        "from jaxmap.checkpoint.refs import parse_refs\n"
        "[ref] = parse_refs('org/tiny@step3')\n"
        "print(fetch(resolve(ref)).folder)\n"
    )
    home = tmp_path / "home"
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home)}

    def run(**more: str) -> Path:
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=True,
        )
        return Path(done.stdout.strip())

    folder = run()
    assert folder == home / "hub" / "models--org--tiny" / "snapshots" / COMMIT
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    before = fake.asked.total()
    assert run(HF_HUB_OFFLINE="1") == folder
    assert fake.asked.total() == before
