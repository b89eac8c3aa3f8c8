"""What tests do on 8 devices: run in a process of its own, whose CPU counts for 8.

The tests' own process has one device, as most programs have.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from support import REPOSITORY, TESTS

TEXTS = "119 1 64 0 41 2 90 13"  # lengths
SHORT = "60 1 33 0 41 2 50 13"  # one block of queries: half as long to compile

_SMALL = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=24,
    max_position_embeddings=128,
)
_CAMELIDAE = dict(
    **_SMALL,
    model_type="camelidae",
    num_experts=5,
    topk=2,
    adapter_dim=7,
    moe_scaling=0.7,
    moe_dtype="bfloat16",
)
_DEEPSEEK = dict(
    **_SMALL,
    model_type="deepseek",
    n_routed_experts=6,
    n_shared_experts=2,
    num_experts_per_tok=3,
    moe_intermediate_size=20,
    moe_layer_freq=1,
    first_k_dense_replace=1,
    norm_topk_prob=False,
    scoring_func="softmax",
    aux_loss_alpha=0.001,
    seq_aux=True,
)


def here(function: str, *arguments: Any, devices: int = 8, xla: str = "") -> Any:
    """What a function of this module gives in a process with so many devices, through JSON.

    xla: flags of the compiler.
    """
    program = "import sys; from support import on_devices; on_devices.main(*sys.argv[1:])"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, function, json.dumps(arguments)],
        env={
            **os.environ,
            "JAX_NUM_CPU_DEVICES": str(devices),
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla}".strip(),
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(REPOSITORY)]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-6000:]
    return json.loads(ran.stdout.splitlines()[-1])


def main(function: str, arguments: str) -> None:
    print(json.dumps(globals()[function](*json.loads(arguments))))


def all_cases() -> dict[str, dict[str, Any]]:
    """Every configuration that has a parity test, by name; of custom code the plain ones."""
    stablelm_alpha = importlib.import_module("support.stablelm_alpha").CONFIG
    by_hand = (_CAMELIDAE, _DEEPSEEK, stablelm_alpha)  # transformers has no such classes
    cases: dict[str, dict[str, Any]] = {str(config["model_type"]): config for config in by_hand}
    for module in pkgutil.iter_modules([str(TESTS / "support" / "cases")]):
        table = importlib.import_module(f"support.cases.{module.name}")
        for name, case in table.CASES.items():
            cases[name] = getattr(case, "config", case)
    cases["kimi_k2"] = {**cases["deepseek_v3"], "model_type": "kimi_k2"}
    cases["phi4mm"] = {**cases["phi4_multimodal"], "model_type": "phi4mm"}
    return cases


def _tokens(vocabulary: int, texts: str = TEXTS):
    from support.token_sets import make_tokens

    random = np.random.default_rng(7)
    lengths = map(int, texts.split())
    return make_tokens([random.integers(0, vocabulary, n).astype(np.int32) for n in lengths])


def _score(model, *, lens: bool = False, texts: str = TEXTS) -> np.ndarray:
    from jaxmap.engine.scorer import Scorers
    from jaxmap.engine.scores import score_rows

    tokens = _tokens(model.spec.V, texts)
    row = 64 * -(-max(map(int, texts.split())) // 64)
    found = score_rows(Scorers().of(model), model, tokens, lens=lens, batch_tokens=row)
    return np.atleast_2d(found["log_likelihood"])


def _mesh(text: str):
    from jaxmap.model import mesh

    axes = mesh.parse(text)
    assert axes is not None
    return mesh.make(axes)


def differences(
    config: dict[str, Any],
    meshes: Sequence[str],
    variants: Sequence[str] = ("none",),
    lens: bool = False,
    texts: str = TEXTS,
) -> list[list[Any]]:
    """[variant, mesh, largest difference to one device in nats, largest score] of each."""
    from jaxmap.checkpoint import weights
    from jaxmap.checkpoint.quantize import quantised
    from support.checkpoints import make_checkpoint

    found = []
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), config)
        one = weights.load(Path(folder), dtype="float32")
        many = {m: weights.load(Path(folder), dtype="float32", mesh=_mesh(m)) for m in meshes}
        for variant in variants:
            alone_RN = _score(quantised(one, variant), lens=lens, texts=texts)
            for mesh, model in many.items():
                together_RN = _score(quantised(model, variant), lens=lens, texts=texts)
                worst = float(np.abs(together_RN - alone_RN).max())
                found.append([variant, mesh, worst, float(np.abs(alone_RN).max())])
    return found


def statistics(
    config: dict[str, Any], other: dict[str, Any], meshes: Sequence[str]
) -> list[list[Any]]:
    """[mesh, statistic, largest difference of a token to one device, spread] of each.

    The reference of those that compare is a model of the other configuration.
    """
    from jaxmap.checkpoint import weights
    from jaxmap.engine.reference import ReferenceModel
    from jaxmap.engine.scorer import Scorers
    from jaxmap.engine.scores import score_rows
    from jaxmap.engine.statistics import STATISTICS
    from support.checkpoints import make_checkpoint

    def score(mesh: str | None) -> dict[str, np.ndarray]:
        given = dict(dtype="float32", mesh=None if mesh is None else _mesh(mesh))
        models = [weights.load(folder, **given) for folder in folders]
        scorers = Scorers()
        reference = ReferenceModel(scorers.of(models[1]), models[1])
        options = dict(per_token=True, reference=reference, batch_tokens=64)
        tokens, names = _tokens(97, SHORT), tuple(STATISTICS)
        return score_rows(
            scorers.of(models[0]), models[0], tokens, statistics=names, **options
        ).per_token

    found = []
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("own", "other")]
        for seed, (folder, facts) in enumerate(zip(folders, (config, other), strict=True)):
            make_checkpoint(folder, facts, seed=seed, spread=0.3)
        alone = score(None)
        for mesh in meshes:
            for name, value_M in score(mesh).items():
                worst = np.abs(value_M.astype(float) - alone[name]).max()
                found.append([mesh, name, float(worst), float(np.ptp(alone[name].astype(float)))])
    return found


def four_bit(config: dict[str, Any], mesh: str) -> dict[str, Any]:
    """`differences` of a 4-bit copy, and the bytes of its codes: all, and those of a device."""
    from flax import nnx

    from jaxmap.checkpoint import weights
    from jaxmap.checkpoint.quantize import quantised
    from support.checkpoints import make_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), config)
        alone_N = _score(quantised(weights.load(Path(folder), dtype="float32"), "nf4"))
        model = quantised(weights.load(Path(folder), dtype="float32", mesh=_mesh(mesh)), "nf4")
    worst = float(np.abs(_score(model) - alone_N).max())
    leaves = [leaf[...] for _, leaf in nnx.to_flat_state(model.params)]
    codes = [leaf for leaf in leaves if leaf.dtype == np.uint8]
    return {
        "difference": ["nf4", mesh, worst, float(np.abs(alone_N).max())],
        "all": sum(leaf.nbytes for leaf in codes),
        "own": sum(leaf.addressable_shards[0].data.nbytes for leaf in codes),
    }


def in_codes(names: Sequence[str], mesh: str) -> list[list[Any]]:
    """`differences` of released copies held in their codes, over a mesh and on one device."""
    from jaxmap.checkpoint import weights
    from support.gguf_files import WIDE, made_of
    from support.released import CASES, released

    found = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            if name == "gguf":
                coded = made_of(Path(folder), dict(WIDE, model_type="llama"))
            else:
                coded, _ = released(Path(folder), **CASES[name])
            alone_N = _score(weights.load(coded, dtype="float32", in_codes=True))
            model = weights.load(coded, dtype="float32", in_codes=True, mesh=_mesh(mesh))
            assert model.in_codes
            worst = float(np.abs(_score(model) - alone_N).max())
        found.append([name, mesh, worst, float(np.abs(alone_N).max())])
    return found


def families(meshes: Sequence[str], names: Sequence[str]) -> dict[str, list[Any]]:
    """`differences` of many configurations, each on the next of the meshes."""
    cases = all_cases()
    found: dict[str, list[Any]] = {}
    for i, name in enumerate(names):
        found[name] = differences(cases[name], [meshes[i % len(meshes)]], texts=SHORT)[0]
    return found


def collectives(config: dict[str, Any], mesh: str, lens: bool = False) -> list[list[str]]:
    """[operation, shapes] of all that devices exchange while they score a batch."""
    import re

    from jaxmap.checkpoint import weights
    from jaxmap.corpus.batches import batches, plan
    from jaxmap.engine.scorer import Scorer
    from jaxmap.model.mesh import axes_of
    from support.checkpoints import make_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), config)
        model = weights.load(Path(folder), dtype="float32", mesh=_mesh(mesh))
    tokens = _tokens(model.spec.V)
    pieces = axes_of(model.mesh).rows
    batch = next(batches(tokens, plan(tokens, batch_tokens=128, pieces=pieces)))
    scorer = Scorer(model.graph, vocabulary_block=16, mesh=model.mesh)
    text = scorer.lower(model.params, batch, lens=lens).compile().as_text()
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    return [[kind, shapes] for shapes, kind in re.findall(rf"= (.+?) ({kinds})(?:-start)?\(", text)]


def reads(config: dict[str, Any], meshes: Sequence[str]) -> dict[str, Any]:
    """What is read from disk: numbers for each mesh, and those of the parameters."""
    from jaxmap.checkpoint import sharded_weights, weights
    from support.checkpoints import make_checkpoint

    real, counted = sharded_weights.copied, []

    def copied(name, view, picks):
        piece = real(name, view, picks)
        counted.append(piece.size)
        return piece

    sharded_weights.copied = copied
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder), config)
        for mesh in meshes:
            counted.clear()
            model = weights.load(Path(folder), mesh=_mesh(mesh))
            found[mesh] = sum(counted)
    return {"read": found, "parameters": model.num_parameters}


def _popped(values: list, *_: object) -> Any:
    return values.pop(0)


def fitting(config: dict[str, Any]) -> dict[str, Any]:
    """What --mesh=auto takes as memory shrinks, and what each model axis needs."""
    import jax

    from jaxmap.architectures.config import Config
    from jaxmap.architectures.specs import spec_of
    from jaxmap.engine.device_memory import USABLE, Memory, lower
    from jaxmap.engine.placement import choose
    from jaxmap.errors import InputError
    from jaxmap.model.mesh import Axes, make

    spec, devices = spec_of(Config(config, "config.json")), jax.devices()
    need = {}
    for model in (1, 2):
        lowered = lower(spec, "float32", make(Axes(8 // model, 1, model)), batch_tokens=128)
        need[model] = Memory.of(lowered.compile()).total
    chosen = {}
    for name, limit in (("any", None), *((m, (n + 64) / USABLE) for m, n in need.items())):
        chosen[name] = str(choose(spec, "float32", devices, limit=limit, batch_tokens=128).axes)
    options = dict(limit=10 * need[1], batch_tokens=128)
    for name, costs in (("dearer", [1.0, 0.6]), ("cheaper", [1.0, 0.4, 0.3]), ("unknown", [None])):
        taken = choose(spec, "float32", devices, **options, seconds_of=partial(_popped, costs))
        chosen[name] = str(taken.axes)
    try:
        choose(spec, "float32", devices, limit=1000, batch_tokens=128)
    except InputError as error:
        chosen["none"] = str(error)
    return {"need": need, "chosen": chosen}


def restored(config: dict[str, Any], saved_on: str, meshes: Sequence[str]) -> list[float]:
    """Largest differences after converted parameters went to disk and onto other meshes."""
    import dataclasses

    from orbax.checkpoint import v1 as ocp

    from jaxmap.checkpoint import weights
    from jaxmap.model import decoder
    from jaxmap.model.mesh import structs
    from support.checkpoints import make_checkpoint

    worst = []
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(Path(folder) / "model", config)
        model = weights.load(Path(folder) / "model", mesh=_mesh(saved_on))
        alone_RN = _score(model)
        named = {path: leaf[...] for path, leaf in decoder.named(model.params).items()}
        ocp.save(Path(folder) / "converted", named)
        for text in meshes:
            mesh = _mesh(text)
            graph, shapes = decoder.abstract(model.spec)
            leaves = decoder.named(structs(shapes, model.spec, mesh))
            wanted = {path: leaf.get_value() for path, leaf in leaves.items()}
            read = ocp.load(Path(folder) / "converted", wanted)
            assert all(read[p].sharding == wanted[p].sharding for p in read)
            params = decoder.from_named({p: leaf.replace(read[p]) for p, leaf in leaves.items()})
            other = dataclasses.replace(model, graph=graph, params=params, mesh=mesh)
            worst.append(float(np.abs(_score(other) - alone_RN).max()))
    return worst


def paired_readout(platforms: Sequence[str], devices: int) -> list[list[Any]]:
    """[platform, statistic, largest difference] of a kernel on a cut vocabulary to the plain scan.

    The model has more tokens than the reference, and some devices have none that both have.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import PartitionSpec

    from jaxmap.engine.readout import read
    from jaxmap.engine.statistics import STATISTICS
    from jaxmap.engine.unembedding import Reference, Unembedding
    from jaxmap.model.mesh import ROWS, Axes, make

    random = np.random.default_rng(5)
    N, E, V, size, other = 128, 128, 560, 541, 301

    def drawn(scale: float, *shape: int) -> Any:
        return jnp.asarray(np.round(16 * scale * random.normal(0, 1, shape)) / 16, "bfloat16")

    head = Unembedding(drawn(0.2, V, E), size=size)
    reference = Reference(drawn(1.0, N, E), Unembedding(drawn(0.2, other, E)))
    given = drawn(1.0, N, E), head, jnp.asarray(random.integers(0, other, N), "int32"), reference
    mesh = make(Axes(model=devices))
    found = []

    def run(**kernel: Any) -> Any:
        def traced(hidden_NE, head, target_N, reference):
            return read(
                hidden_NE, head, target_N, STATISTICS, block=300, reference=reference, **kernel
            )

        if not kernel:
            return jax.jit(traced)(*given)
        everywhere = PartitionSpec()
        on_mesh = jax.shard_map(
            traced, mesh=mesh, in_specs=everywhere, out_specs=everywhere,
            axis_names=set(ROWS), check_vma=False,
        )  # fmt: skip
        return jax.jit(on_mesh)(*given)

    expected = run()
    for platform in platforms:
        for name, value in run(platform=platform, interpret=True).items():
            different = np.abs(np.asarray(value, np.float64) - np.asarray(expected[name]))
            found.append([platform, name, float(different.max())])
    return found
