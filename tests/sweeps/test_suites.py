"""The configs of released suites against a local Hub that lists them in their shapes."""

from __future__ import annotations

import runpy

import pytest
from support import REPOSITORY
from support.hubs import Fake, serve

from jaxmap.checkpoint.listing import find, thinned
from jaxmap.checkpoint.sources.hub import Hub
from jaxmap.errors import InputError
from jaxmap.sweeps.config_schema import config_dict, load_config, read_config
from jaxmap.sweeps.tasks import plan_tasks

CONFIGS = REPOSITORY / "configs"
BENCHMARK = runpy.run_path(str(REPOSITORY / "benchmarks" / "suites.py"))
PYTHIA = [
    f"step{n}" for n in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 144000, 1000))
]
TINY = "TinyLlama/TinyLlama-1.1B-intermediate-step-"

# Of each config: its variant, repositories with their branches (None: one that holds a single
# model), and of each run that is to be found its places and what is known of its last.
SUITES = {
    "olmo": ("7b", {"allenai/OLMo-7B-hf": ["main", "step1000-tokens4B", "step2000-tokens9B"]},
             {"": [1000, 2000]}, 4_194_304),
    "olmo2": ("7b", {"allenai/OLMo-2-1124-7B": [
        "main", "step150-tokens1B", "stage1-step1000-tokens5B", "stage1-step928646-tokens3896B",
        "stage2-ingredient1-step1000-tokens5B", "stage2-ingredient1-step11931-tokens50B",
        "stage2-ingredient2-step1000-tokens5B"]},
        {"stage1": [150, 1000, 928646], "stage2-ingredient1": [1000, 11931],
         "stage2-ingredient2": [1000]}, 4_194_304),
    "olmo3": ("7b", {"allenai/Olmo-3-1025-7B": [
        "main", "stage1-step0", "stage1-step1413814", "stage2-step47684", "stage3-step11921"]},
        {"stage1": [0, 1413814], "stage2": [47684], "stage3": [11921]}, 4_194_304),
    "olmoe": ("1b-7b", {"allenai/OLMoE-1B-7B-0924": ["step5000-tokens20B", "step10000-tokens41B"]},
              {"": [5000, 10000]}, 4_194_304),
    "smollm2": ("1.7b", {"HuggingFaceTB/SmolLM2-1.7B-intermediate-checkpoints": [
        "step-125000", "step-250000", "main"]}, {"": [125000, 250000]}, 2_097_152),
    "smollm3": ("3b", {"HuggingFaceTB/SmolLM3-3B-checkpoints": [
        "stage1-step-40000", "stage1-step-3440000", "stage2-step-3480000", "stage3-step-4240000",
        "lc-4k-to-32k-step-4000", "it-SFT", "main"]},
        {"stage1": [40000, 3440000], "stage2": [3480000], "stage3": [4240000],
         "lc-4k-to-32k": [4000]}, 2_359_296),
    "apertus": ("8b", {"swiss-ai/Apertus-8B-2509": [
        "step50000-tokens210B", "step100000-tokens420B", "longctx-step1000", "main"]},
        {"": [50000, 100000], "longctx": [1000]}, None),
    "amber": ("7b", {"LLM360/Amber": ["ckpt_000", "ckpt_001", "ckpt_358", "main"]},
              {"": [0, 1, 358]}, pytest.approx(3.497e9, rel=1e-3)),
    "k2": ("65b", {"LLM360/K2": ["ckpt_001", "ckpt_002", "main"]}, {"": [1, 2]}, None),
    "tinyllama": ("1.1b", {f"{TINY}50K-105b": None, f"{TINY}1431k-3T": None,
                           "TinyLlama/TinyLlama-1.1B-Chat-v1.0": None},
                  {"": [50_000, 1_431_000]}, None),
    "bloom": ("560m", {"bigscience/bloom-560m-intermediate": [
        "global_step1000", "global_step600000", "main"]}, {"": [1000, 600000]}, 524_288),
    "datadecide": ("1B", {
        "allenai/DataDecide-c4-1B": ["step0-seed-default", "step69369-seed-default",
                                     "step0-seed-large-aux-2", "main"],
        "allenai/DataDecide-dclm-150M": ["step0-seed-default"]},
        {"seed-default": [0, 69369], "seed-large-aux-2": [0]}, 1_441_792),
    "opencoder": ("8b", {"OpenCoder-LLM/OpenCoder-8B-Base-Checkpoints": [
        "main", "pretrain_iter_0001000", "pretrain_iter_0373000", "anneal_iter_0023000"]},
        {"pretrain": [1000, 373000], "anneal": [23000]}, None),
    "lucie": ("7b", {"OpenLLM-France/Lucie-7B": [
        "step0000000", "step0753851", "extension_step0001220", "main"]},
        {"": [0, 753851], "extension": [1220]}, None),
    "polypythias": ("14m", {f"EleutherAI/pythia-14m-seed{n}": PYTHIA for n in range(1, 10)},
                    {}, 2_097_152),
    "marin": ("8b", {"marin-community/marin-8b-base": [
        "main", "kestrel", "ocelot", "jellyfish", "phoenix", "starling", "deeper-starling"]},
        {"": [1, 2, 3, 4, 5, 6]}, None),
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    fake = Fake({}, {}, listings={})
    with serve(fake) as address:
        play = lambda: Hub(endpoint=address, offline=False)  # noqa: E731
        monkeypatch.setattr("jaxmap.checkpoint.sources.hub.Hub", play)
        yield fake
        huggingface_hub.close_session()


def test_every_suite_is_here():
    with_parts = {path.stem for path in CONFIGS.glob("*.py") if BENCHMARK["parts_of"](path)}
    assert with_parts == set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_a_config_finds_what_the_hub_lists(name, hub):
    variant, repositories, runs, per_step = SUITES[name]
    hub.listings = {repo: names or ["main"] for repo, names in repositories.items()}
    hub.models = list(repositories)
    config = read_config(dict(load_config(f"{CONFIGS / name}.py:{variant}")))
    names, refs = config.names(), find(config.refs())
    found: dict[str, list[int]] = {}
    for ref in refs:
        one = names.parse(ref.name, ref.revision)
        assert one.time is not None, ref
        found.setdefault(one.run if runs else one.run_name, []).append(one.time)
    if runs:
        assert {run: sorted(times) for run, times in found.items()} == runs
    else:
        assert len(found) == 9
        assert all(len(times) == 154 for times in found.values())
    # One checkpoint a step; the command line sets its fields.
    tasks = plan_tasks(refs, range(len(refs)), lambda ref: [], 10, names)
    assert len(tasks) == len(refs)
    assert names.facts(refs[0].name, refs[0].revision).tokens_per_step == per_step
    few = thinned(refs, 10, names)
    longest = max(found.values(), key=len)
    assert len(few) == len(refs) or len(longest) > 2
    assert config.settings.weight_distance == 10


def test_parts_are_chosen():
    path = f"{CONFIGS / 'bloom'}.py"
    assert len(read_config(dict(load_config(path))).refs()) == 5
    two = read_config(dict(load_config(f"{path}:560m,3b")))
    assert [ref.name for ref in two.refs()] == [
        "bigscience/bloom-560m-intermediate", "bigscience/bloom-3b-intermediate",
    ]  # fmt: skip
    with pytest.raises(InputError, match="'2b' is unknown; known: 560m, 1b1, 1b7, 3b, 7b1, all"):
        load_config(f"{path}:2b")
    fields = dict(load_config(path))
    assert set(fields) == set(config_dict())
    fields |= {"quantize": "none,int8", "every": 10}
    assert read_config(fields).settings.quantize == ("none", "int8")


@pytest.mark.parametrize("name", SUITES)
def test_docstrings_say_the_costs(name):
    path = CONFIGS / f"{name}.py"
    text = path.read_text("utf-8")
    assert BENCHMARK["with_costs"](text, BENCHMARK["costs_of"](path)) == text
    assert all(line in text for line in BENCHMARK["costs_of"](path))
