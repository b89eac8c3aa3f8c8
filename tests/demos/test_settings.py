"""Settings of the demo: the configuration file, the command, what is refused."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from support import REPOSITORY
from support.checkpoints import jaxmap
from support.demos import RUNS, STEPS, tiny

from jaxmap.analysis.learning import Learning
from jaxmap.corpus.texts import TextSet
from jaxmap.demos import settings as demo_config
from jaxmap.demos.result import DemoRun
from jaxmap.demos.settings import DemoConfig, ModelSize
from jaxmap.errors import InputError
from jaxmap.store import Store


def test_checkpoints_are_pythias_then_even():
    powers = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    assert DemoConfig().checkpoints == (*powers, *range(576, 1025, 64))
    assert DemoConfig(steps=1000, every=300).checkpoints == (*powers, 812, 1000)
    assert tiny().checkpoints == STEPS
    assert tuple(tiny().runs) == RUNS
    assert len(DemoConfig().runs) == 5


def test_the_config_file_is_the_default_and_can_be_changed():
    path = REPOSITORY / "configs" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo_config_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = module.get_config()
    assert demo_config.from_dict(values.to_dict()) == DemoConfig()
    values.sizes.m.width = 160
    assert demo_config.from_dict(values.to_dict()).sizes["m"].width == 160
    assert "jaxmap demo" in module.__doc__


def test_the_command_takes_a_config(tmp_path, monkeypatch):
    seen = []

    def run_demo(out, config):
        seen.append(config)
        return DemoRun(
            Path(out), Store.create(tmp_path / "store", TextSet(("x",))), 1, (), Learning(())
        )

    monkeypatch.setattr("jaxmap.demos.run.run_demo", run_demo)
    path = REPOSITORY / "configs" / "demo.py"

    def run(*flags: str):
        return jaxmap("demo", f"--out={tmp_path}", *flags)

    assert run().code == 0
    assert run(f"--config={path}", "--config.steps=7", "--config.warmup=2",
               "--config.sizes.m.width=160").code == 0  # fmt: skip
    assert seen[0] is None
    sizes = {**DemoConfig().sizes, "m": replace(DemoConfig().sizes["m"], width=160)}
    assert seen[1] == DemoConfig(steps=7, warmup=2, sizes=sizes)
    for flag, told in (
        ("--config.stps=7", "unknown field 'stps'; did you mean steps?"),
        ("--config.steps=0", "steps must be at least 1"),
        ("--config.sizes.q.width=8", "unknown field 'sizes.q.width'"),
    ):
        ran = run(f"--config={path}", flag)
        assert (ran.code, told in str(ran)) == (2, True), str(ran)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"held_out": 1.0}, "held_out must lie between"),
        ({"warmup": 13}, "warmup is longer than steps"),
        ({"window": 200}, "window is longer than context"),
        ({"quantize": ("none",)}, "quantize: 'none' is unknown; known: int8, nf4, fp4"),
        ({"finetune_steps": -1}, "finetune_steps is negative"),
        ({"dtypes": ("tf32",)}, "dtypes: 'tf32' is unknown"),
        ({"sizes": {}}, "sizes is empty"),
        ({"sizes": {"xs": ModelSize(12, 1, 1, 1e-3)}}, "sizes.xs"),
    ],
)
def test_a_config_that_cannot_be_trained_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_unknown_config_keys_are_refused():
    with pytest.raises(InputError, match="unknown step"):
        demo_config.from_dict({"step": 3})
    with pytest.raises(InputError, match="sizes"):
        demo_config.from_dict({"sizes": {"xs": {"wide": 3}}})
