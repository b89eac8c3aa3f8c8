"""The Hub: what is downloaded, what is refused, what works offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub_of_one_model import LATER, REF, WEIGHTS, gets, refused
from support.hubs import COMMIT

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources import files as files_module
from jaxmap.checkpoint.sources.hub import Hub, fetch, resolve
from jaxmap.errors import InputError, JaxmapError


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
