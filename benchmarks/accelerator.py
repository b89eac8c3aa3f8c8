"""What scoring costs on an accelerator: modelled from the compiled program, or measured.

    pip install -e '.[tpu]'      # libtpu, for v5e, v5p and v6e
    pip install -e '.[cuda]'     # the CUDA plugin, for a100, h100, h200 and b200
    python benchmarks/accelerator.py --device=v5e --shape=pythia-410m --dtype=bfloat16

No device is needed: the compilers compile for a described one, and `hardware.cost_model` adds
up the program that they give, the same on every machine. The share is that of the matrix units'
peak: the products of the weights alone (two for each weight that a token meets) over everything.
Where the first device of this machine is the one that is asked for, the same program is run
instead, on random weights, and the clock's median counts. Last line: `share 0.612`.
"""

from __future__ import annotations

import datetime
import glob
import json
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from absl import app, flags
from accelerator_records import recorded

from jaxmap.errors import InputError
from jaxmap.hardware import chips, gpus
from jaxmap.hardware.topology import name_of

_DEVICES = ("v5e", "v5p", "v6e", *gpus.GPUS)
_GRIDS = {"v5e": "2x2", "v5p": "2x2x1", "v6e": "2x2"}

_DEVICE = flags.DEFINE_enum("device", "v5e", _DEVICES, "What it runs on.")
_SHAPE = flags.DEFINE_string("shape", "pythia-410m", "Folder of benchmarks/shapes, or any other.")
_DTYPE = flags.DEFINE_string("dtype", "auto", "As in `jaxmap score`.")
_REACH = flags.DEFINE_integer("reach", 384, "Tokens of the longest text of the batch.")
_TOKENS = flags.DEFINE_integer("tokens", 16384, "Of a batch, on each group of devices.")
_ROW = flags.DEFINE_integer("row", 2048, "Tokens of a row.")
_LENS = flags.DEFINE_boolean("lens", False, "Read every layer.")
_MESH = flags.DEFINE_string("mesh", "data=1", "As in `jaxmap score`.")
_LAYERS = flags.DEFINE_integer("layers", None, "Only so many layers of the shape.", lower_bound=1)
_PLAIN = flags.DEFINE_boolean("plain", False, "Without the kernels for this device.")
_STATISTICS = flags.DEFINE_list(
    "statistics", None, "What is read: log_likelihood, or with --reference what `compare` reads."
)
_REFERENCE = flags.DEFINE_string(
    "reference", None, "The shape of a model to compare with, whose final states are given."
)
_TOP = flags.DEFINE_integer("top", 12, "The dearest operations to show.", lower_bound=0)
_HLO = flags.DEFINE_string("hlo", None, "Where the optimised program goes.")
_OUT = flags.DEFINE_string(
    "out", None, "A .jsonl that gets a line for this run, in place of one of the same settings."
)
_REPEATS = flags.DEFINE_integer("repeats", 10, "Timed runs on a real device.", lower_bound=1)


def found_device() -> bool:
    """Whether this machine has the device that is asked for; starts JAX only where it may."""
    here = "/dev/nvidia0" if _DEVICE.value in gpus.GPUS else "/dev/accel*"
    if not glob.glob(here):
        return False
    import jax

    return name_of(jax.devices()[0]) == _DEVICE.value


def devices_for(axes: Any) -> list[Any]:
    """Described devices, as many as the mesh has at least."""
    if _DEVICE.value in gpus.GPUS:
        return gpus.devices(_DEVICE.value, axes.size)
    grid = _GRIDS[_DEVICE.value]
    if axes.size > 4:
        grid = "4x4" if _DEVICE.value != "v5p" else "2x2x4"
    return chips.devices(f"{_DEVICE.value}:{grid}")


def config_of(shape: str, field: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a shape, and its config.json with as many layers as are asked for."""
    folder = Path(__file__).parent / "shapes" / shape
    folder = folder if folder.is_dir() else Path(shape)
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json", field=field, value=shape)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if _LAYERS.value:
        for name in ("num_hidden_layers", "n_layer", "num_layers"):
            if name in config:
                config[name] = _LAYERS.value
        if "layer_types" in config:
            config["layer_types"] = config["layer_types"][: _LAYERS.value]
    return folder, config


def reference_of(on_devices: Any, B: int, row: int, dtype: str, mesh: Any) -> Any:
    """The shapes of a reference's final states and unembedding.

    Args:
      on_devices: what `of_floats` says of the model.
      B, row, dtype: the rows and tokens of a batch, and the dtype of the states.
      mesh: the devices.
    """
    import jax
    from flax import nnx
    from jax.sharding import NamedSharding, PartitionSpec

    from jaxmap.engine.unembedding import Reference, Unembedding
    from jaxmap.model.mesh import ROWS, axes_of

    def on(shape: tuple[int, ...], dtype: Any, *axes: Any) -> Any:
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    graph, shapes, _ = on_devices(axes_of(mesh))
    head = jax.eval_shape(lambda params: Unembedding.of(nnx.merge(graph, params)), shapes)
    head = jax.tree.map(lambda leaf: on(leaf.shape, leaf.dtype, "model"), head)
    return Reference(on((B, row, head.head_VE.shape[1]), jax.numpy.dtype(dtype), ROWS), head)


def program(real: bool) -> tuple[Any, Any, float, dict[str, Any]]:
    """The compiled program, its arguments, the products of its weights alone, and settings."""
    from jaxmap.architectures.config import Config
    from jaxmap.architectures.specs import spec_of
    from jaxmap.comparison.token_comparison import STATISTICS
    from jaxmap.comparison.token_views import LIKELIEST
    from jaxmap.engine.device_memory import of_floats
    from jaxmap.engine.scorer import Scorer, kernels_for
    from jaxmap.engine.statistics import DEFAULT
    from jaxmap.model.mesh import Axes, axes_of, make, parse, structs
    from jaxmap.planning.cost import count
    from jaxmap.precision import PRECISIONS, default_dtype

    folder, config = config_of(_SHAPE.value, "shape")
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    spec = spec_of(Config(config, str(folder)))
    axes = parse(_MESH.value) or Axes()
    mesh = make(axes, None if real else devices_for(axes))
    platform = "gpu" if _DEVICE.value in gpus.GPUS else "tpu"
    dtype = default_dtype(platform, stored) if _DTYPE.value == "auto" else _DTYPE.value
    precision = PRECISIONS[dtype]
    weights = precision.weights or stored
    graph, shapes, own = of_floats(spec, weights, precision.activations)(axes_of(mesh))
    kernels = kernels_for(platform)
    if _PLAIN.value:
        kernels["platform"] = ""
    scorer = Scorer(graph, dtype=dtype, mesh=mesh, **kernels)
    row = min(_ROW.value, _TOKENS.value)
    B = max(1, _TOKENS.value // row) * axes.rows
    args = (structs(shapes, own, mesh), *scorer.shapes(B, row))
    names, reference = DEFAULT, None
    if _REFERENCE.value:
        names = (*STATISTICS.values(), *LIKELIEST)  # as `jaxmap compare` reads
        other = spec_of(Config(config_of(_REFERENCE.value, "reference")[1], _REFERENCE.value))
        reference = of_floats(other, weights, precision.activations)
        args = (*args[:-1], reference_of(reference, B, row, precision.activations, mesh))
    static = dict(
        reach=min(_REACH.value, row),
        lens=_LENS.value,
        statistics=tuple(_STATISTICS.value or names),
    )
    compiled = scorer.traced(*args, **static).lower().compile()
    work = count(spec, weight_bytes=2, activation_bytes=2)
    tokens = B // axes.rows * row
    per_token = work.weight_flops
    readouts = spec.L + 1 if _LENS.value else 1
    per_token += (readouts - 1) * 2 * spec.V * (spec.embed_D or spec.D)
    if _REFERENCE.value:
        per_token += readouts * 2 * other.V * (other.embed_D or other.D)
    settings = dict(
        device=_DEVICE.value, shape=folder.name, dtype=dtype, tokens=tokens, row=row,
        reach=static["reach"], lens=_LENS.value, mesh=str(axes), layers=spec.L,
        statistics=",".join(_STATISTICS.value or (["compare"] if reference else DEFAULT)),
        program="plain" if _PLAIN.value else "kernels",
    )  # fmt: skip
    if _REFERENCE.value:
        settings["reference"] = _REFERENCE.value
    return compiled, args, per_token * tokens * axes.rows / axes.size, settings


def measured(compiled: Any, args: tuple) -> float:
    """Seconds of a run on the devices that are here, the median."""
    import jax
    import numpy as np

    random = np.random.default_rng(0)

    def filled(struct: Any) -> Any:
        if np.issubdtype(struct.dtype, np.integer):
            value = np.ones(struct.shape, struct.dtype)
        else:
            value = (random.standard_normal(struct.shape, np.float32) * 0.02).astype(struct.dtype)
        return jax.device_put(value, struct.sharding)

    given = jax.tree.map(filled, args)
    jax.block_until_ready(compiled(*given))
    seconds = []
    for _ in range(_REPEATS.value):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main(_: list[str]) -> None:
    real = found_device()
    if not real:
        (gpus if _DEVICE.value in gpus.GPUS else chips).prepare()
    import jax

    from jaxmap.hardware.cost_model import charges, exchanges

    if not real:
        jax.config.update("jax_enable_compilation_cache", False)
    compiled, args, flops, settings = program(real)
    text = compiled.as_text()
    if _HLO.value:
        Path(_HLO.value).write_text(text, encoding="utf-8")
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    print(", ".join(f"{name} {value}" for name, value in settings.items()))
    print(f"temporaries {temporaries / 2**30:.2f} GiB")
    found = charges(text, _DEVICE.value)
    modelled = sum(charge.seconds for charge in found)
    peak = {**chips.TPUS, **gpus.GPUS}[_DEVICE.value].flops
    seconds = measured(compiled, args) if real else modelled
    for charge in found[: _TOP.value]:
        print(
            f"  {charge.seconds / modelled:6.1%} {1e3 * charge.seconds:8.2f} ms {charge.runs:5d} x "
            f"{charge.opcode:12s} {charge.shape:32s} {charge.source}  {charge.name}"
        )
    told = exchanges(text, _DEVICE.value)
    if told:
        spent, beside = (sum(getattr(e, f) for e in told) for f in ("seconds", "beside"))
        print(
            f"told to other devices {sum(e.bytes for e in told) / 1e6:,.0f} MB in "
            f"{sum(e.runs for e in told)} exchanges, {1e3 * spent:.2f} ms, other work beside them "
            f"{1e3 * beside:.2f} ms"
        )
    how = "measured" if real else "modelled"
    share = flops / peak / seconds
    print(
        f"{how} {1e3 * seconds:.2f} ms, products of the weights alone {1e3 * flops / peak:.2f} ms"
    )
    if _OUT.value:
        record = {
            **settings,
            "jax": metadata.version("jax"),
            "how": how,
            "seconds": seconds,
            "products_seconds": flops / peak,
            "share": round(share, 4),
            "temporaries_gib": round(temporaries / 2**30, 3),
            "exchanged_mb": round(sum(e.bytes for e in told) / 1e6),
            "exchange_seconds": sum(e.seconds for e in told),
            "beside_exchanges_seconds": sum(e.beside for e in told),
            "dearest": [_row(charge, modelled) for charge in found[:5]],
            "compiler": versions(),
            "date": datetime.date.today().isoformat(),
        }
        recorded(Path(_OUT.value), record, (*settings, "how"))
    print(f"share {share:.3f}")


def _row(charge: Any, total: float) -> list[Any]:
    return [round(charge.seconds / total, 4), charge.opcode, charge.shape, charge.source]


def versions() -> str:
    package = "jax-cuda13-plugin" if _DEVICE.value in gpus.GPUS else "libtpu"
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def run(argv: list[str]) -> None:
    try:
        main(argv)
    except InputError as error:
        field = f"--{error.field} " if error.field else ""
        print(f"accelerator.py: {field}{error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(run)
