"""A Hub that answers late, half, wrongly or not at all, and a disk that is full."""

from __future__ import annotations

import errno
import shutil
import socket
from collections import namedtuple

import pytest
from support.hub_of_one_model import REF, WEIGHTS, gets, refused
from support.hubs import COMMIT

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.hub import Hub, fetch, resolve
from jaxmap.checkpoint.sources.hub_client import DiskFullError
from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.errors import InputError, JaxmapError


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
