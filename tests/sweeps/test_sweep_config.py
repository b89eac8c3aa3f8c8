"""Configs of a sweep: those that come along, overrides, files of models, what is refused."""

from __future__ import annotations

import dataclasses

import pytest
from support import REPOSITORY
from support.checkpoints import (
    jaxmap,
    write_texts,
)
from support.sweeps import config_of, sweep, write_config

from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.sweeps.config_schema import OF_THE_RUN, config_dict, read_config
from jaxmap.sweeps.settings import Settings

CONFIGS = REPOSITORY / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.name)
def test_configs_that_come_along(path):
    import runpy

    made = runpy.run_path(str(path))
    assert "Command:" in made["__doc__"]
    assert "Cost:" in made["__doc__"]
    assert "Expect:" in made["__doc__"]
    if path.name == "demo.py":  # of `jaxmap demo`
        return
    if "PARTS" in made:  # of a released suite: test_suites.py
        assert "Time:" in made["__doc__"]
        return
    config = read_config(dict(made["get_config"]()))
    counts = {"pythia.py": 770, "demo_sweep.py": 95}
    if path.name in counts:
        assert len(config.refs()) == counts[path.name]
    else:
        assert config.models_file == "model_list.json"
    if path.name == "pythia.py":
        assert [str(ref) for ref in config.refs()[-2:]] == [
            "EleutherAI/pythia-6.9b@step142000",
            "EleutherAI/pythia-6.9b@step143000",
        ]
        seeds = read_config(dict(made["get_config"]("seeds")))
        assert len(seeds.refs()) == 9 * 154
        assert (
            read_config(dict(made["get_config"]("14m")))
            .models[0]
            .startswith("EleutherAI/pythia-14m@")
        )


def test_every_setting_has_its_place():
    """A setting is a field of the config, or a flag of the run."""
    of_the_run = {"save_every", "cache_budget", "mesh", "batch"}
    assert of_the_run == set(OF_THE_RUN)
    settings = {field.name for field in dataclasses.fields(Settings)} - of_the_run
    assert settings <= set(config_dict())
    flags = jaxmap("score", "--help").out
    for name in {field.name for field in dataclasses.fields(Settings)} - {"tuned_lens"}:
        assert f"--{name}\n" in flags, name


def test_overrides_of_a_config(place):
    config = config_of(place)
    path = f"{place}/run0@step{{0,1}}"
    ran = sweep(
        config,
        place / "store",
        f"--config.models={path}",
        "--config.quantize=none,fp4",
        "--config.lens",
        "--config.limit=2",
    )
    assert (ran.code, ran.out) == (0, "4 scored, 0 already done, 0 failed\n")
    store = Store.open(place / "store")
    assert len(store.texts.text_bytes) == 2
    assert len(store.records()) == 2 * (4 + 1)


def test_models_of_a_file(place):
    listed = place / "list.json"
    listed.write_text('["org/a", "org/b@step{0,1}", "org/c"]')
    config = read_config({"models_file": str(listed), "models": "x/y"})
    assert [*map(str, config.refs())] == [
        "x/y", "org/a", "org/b@step0", "org/b@step1", "org/c",
    ]  # fmt: skip
    assert len(dataclasses.replace(config, first=1).refs()) == 2
    (place / "list.txt").write_text("# mine\norg/a  # the best\n\norg/b\n")
    config = read_config({"models_file": str(place / "list.txt")})
    assert [*map(str, config.refs())] == ["org/a", "org/b"]
    for content, words in (("{}", "not a list of names"), ("[1", "not JSON")):
        listed.write_text(content)
        with pytest.raises(InputError, match=words):
            read_config({"models_file": str(listed)}).refs()
    with pytest.raises(InputError, match="names no models"):
        read_config({}).refs()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.modles=x"], "unknown field 'modles'; did you mean models?"),
        (["--config.batch_tokens=12x"], "--config.batch_tokens"),
        (["--config.first=-1"], "first: -1 is negative"),
        (["--config.dtype=float8"], "dtype: 'float8' is unknown"),
        (["--config.quantize=int3"], "'int3' is unknown"),
        (["--config.models_file=/none.json"], "/none.json: cannot be read: No such file"),
        (["--config.models=a{b"], "unbalanced brace"),
        (["--config=none.py"], "none.py: no such file"),
        (["--shard_index=2", "--shard_count=2"], "--shard_index=2: of --shard_count=2"),
        (["--cache_budget=12XB"], "--cache_budget: '12XB' is not a size"),
        (["--save_every=-1"], "save_every"),
    ],
)  # fmt: skip
def test_bad_values_are_one_line(arguments, words, tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    config = write_config(tmp_path / "config.py", ["org/a"], texts)
    ran = sweep(config, tmp_path / "store", *arguments)
    assert ran.code == 2
    [line] = ran.messages
    assert words in line
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def get_config(): return {'modles': ()}", "unknown field 'modles'; did you mean models?"),
        ("def get_config(): return {'models': 3}", "models: 3 is not a list of names"),
        ("def get_config(): return {'lens': 1}", "lens: 1 is not of type bool"),
        ("def get_config(): return 1 / 0", "ZeroDivisionError"),
        ("def get_config(:", "SyntaxError"),
        ("x = 1", "has no get_config()"),
    ],
)
def test_bad_configs_are_one_line(code, words, tmp_path):
    (tmp_path / "config.py").write_text(code)
    ran = sweep(tmp_path / "config.py", tmp_path / "store")
    assert ran.code == 2
    [line] = ran.messages
    assert words in line
    assert str(tmp_path / "config.py") in line


def test_a_config_of_a_few_fields_serves(place):
    config = place / "few.py"
    config.write_text(f"def get_config(): return dict(models=['{place}/run0@step0'], "
                      f"texts='{place}/texts.jsonl')")  # fmt: skip
    assert sweep(config, place / "store").out.startswith("1 scored")
    ran = sweep(config, place / "store", "--config.lens")
    assert ran.code == 2
    assert "sets fewer fields than it may: unknown field 'lens'" in ran.err


def test_config_dict_refuses_what_is_unknown():
    with pytest.raises(InputError, match="did you mean texts"):
        config_dict(text="a")
