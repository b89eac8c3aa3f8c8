"""Plans one model on one set of devices: whether it fits, the batch, and the shortest time."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from jaxmap.engine.batch_size import largest
from jaxmap.engine.device_memory import (
    USABLE,
    Memory,
    device_memory,
    longest_row,
    lower,
    memory_of,
    of_floats,
)
from jaxmap.engine.placement import choose
from jaxmap.engine.scorer import BATCH_TOKENS
from jaxmap.errors import InputError
from jaxmap.hardware import cost_model
from jaxmap.hardware.topology import Topology
from jaxmap.hardware.topology import devices as topology_devices
from jaxmap.hardware.topology import parse as parse_topology
from jaxmap.model.mesh import Axes, axes_of, bytes_of, make, parse
from jaxmap.planning.cost import count
from jaxmap.planning.planned_model import planned_model
from jaxmap.planning.result import Plan
from jaxmap.precision import PRECISIONS, default_dtype
from jaxmap.progress import progress

TEXTS, TOKENS = 10_000, 270  # the published text set; about so many ids in a text of 972 bytes
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def passes_of(dtype: str, weights: str, platform: str) -> tuple[int, int]:
    """How many products of the device one float product takes: with weights, between activations.

    If products are split into parts, bfloat16 weights have no low part (`linear.multiply`). TPUs
    compute a float32 product by six bfloat16 ones.
    """
    precision = PRECISIONS[dtype]
    if precision.passes:
        return precision.passes - (weights == "bfloat16"), precision.passes
    one = 6 if platform == "tpu" and precision.activations == "float32" else 1
    return one, one


def reach_of(tokens: int) -> int:
    """The longest text, in tokens, of a batch whose texts have so many on average: a third more.

    In whole vectors of 128, as batches are packed; 384 for the published texts.
    """
    return -(-tokens * 4 // (3 * 128)) * 128


def plan_for(
    model: str,
    *,
    topology: str | None = None,
    mesh: str = "auto",
    dtype: str = "auto",
    lens: bool = False,
    batch_tokens: int | None = None,
    largest_batch: bool = True,
    texts: int = TEXTS,
    tokens: int = TOKENS,
    ignore_config_keys: Sequence[str] = (),
) -> Plan:
    """Compiles the scoring of a model for devices that need not exist.

    Args:
      model: a reference; its config.json is read, and of a copy in codes on disk the shapes of its
        tensors (`planned_model`).
      topology: a TPU and its grid, "v5e:4x4", or a GPU and how many, "h100:8"
        (`topology.prepare` first); None: the local devices.
      mesh: the devices per axis, or "auto".
      dtype: see `score_models`.
      lens: whether every layer is read.
      batch_tokens: tokens per batch and group of devices; None: the platform's default.
      largest_batch: whether to find the largest batch too, which takes a few more compilations.
      texts, tokens: the number of texts, and of tokens per text, for the times.
      ignore_config_keys: see `score_models`.

    Raises InputError for an invalid model, topology or mesh, and for texts that are longer than the
    model can be scored on (`Spec.dense_up_to`).
    """
    planned = planned_model(model, ignore_config_keys)
    spec, stored = planned.spec, planned.stored
    if spec.dense_up_to is not None and tokens > spec.dense_up_to:
        raise InputError(
            f"in texts of more than {spec.dense_up_to:,} tokens this model attends only to keys "
            "that an indexer chooses, which is not implemented; plan for shorter texts",
            field="tokens",
            value=tokens,
        )
    described: Topology | None = None
    if topology is None:
        devices, name = jax.devices(), jax.devices()[0].device_kind
        limit = device_memory(jax.local_devices()[0])
    else:
        described = parse_topology(topology)
        devices, name, limit = topology_devices(described), described.device, described.memory
    platform = "gpu" if described is not None and described.is_gpu else devices[0].platform
    if dtype == "auto":
        dtype = default_dtype(platform, stored)
    precision = PRECISIONS[dtype]
    weights = precision.weights or stored
    on_devices = planned.on_devices(dtype) or of_floats(spec, weights, precision.activations)
    batch_tokens = batch_tokens or BATCH_TOKENS[platform]
    axes, needed, batch_seconds = parse(mesh), None, None
    look = "{desc}: {n_fmt} programs [{elapsed}]"
    with progress(None, "compile", "program", leave=False, bar_format=look) as bar:
        if axes is None:
            try:
                choice = choose(
                    spec, dtype, devices, limit=limit, batch_tokens=batch_tokens,
                    reach=reach_of(tokens), lens=lens, on_devices=on_devices, progress=bar.update,
                )  # fmt: skip
                axes, needed, batch_seconds = choice.axes, choice.memory, choice.seconds
            except InputError:
                axes = Axes(model=len(devices))  # shown with what is lacking
        made = make(axes, devices)
        _, shapes, own = on_devices(axes)
        parameter_bytes = bytes_of(shapes, own, axes_of(made))
        row = min(longest_row(spec), batch_tokens)

        def memory(batch: int) -> Memory | None:
            options = dict(on_devices=on_devices, batch_tokens=batch, row=row, lens=lens)
            return memory_of(lower(spec, dtype, made, **options))  # type: ignore[arg-type]

        hopeless = limit is not None and parameter_bytes > limit
        if needed is None and not hopeless:
            needed = memory(batch_tokens)
            bar.update()
        most = None
        if largest_batch and not hopeless and limit is not None:
            room = USABLE * limit
            most = largest(memory, needed, batch_tokens, row, room, progress=bar.update)
    work = count(spec, weight_bytes=_BYTES[weights], activation_bytes=_BYTES[precision.activations])
    num_tokens = texts * tokens
    flops = work.flops(num_tokens, tokens / 2)
    passes, attention_passes = passes_of(dtype, weights, platform)
    float32 = precision.activations == "float32" and not precision.passes
    arithmetic = traffic = None
    if described is not None:
        attention = num_tokens * tokens / 2 * work.key_flops
        multiplied = (flops - attention) * passes + attention * attention_passes
        rate = (float32 and described.float32_flops) or described.flops
        arithmetic = multiplied / (axes.size * rate)
        batches = num_tokens / (batch_tokens * axes.rows)
        own_share = parameter_bytes * batches
        stream = num_tokens * work.stream_bytes / axes.size
        traffic = (own_share + stream) / described.bandwidth
    if described is not None and needed is not None and batch_seconds is None:
        lowered = lower(
            spec, dtype, made, on_devices=on_devices, batch_tokens=batch_tokens, row=row,
            reach=min(row, reach_of(tokens)), lens=lens,
        )  # fmt: skip
        text = lowered.compile().as_text()
        assert text is not None
        batch_seconds = cost_model.total(text, described.name)
    batch = row * max(1, batch_tokens // row) * axes.rows
    return Plan(
        model=model,
        devices=name,
        num_devices=axes.size,
        mesh=str(axes),
        dtype=dtype,
        stored=planned.label,
        batch_tokens=batch_tokens,
        memory=needed,
        parameter_bytes=parameter_bytes,
        limit=limit,
        work=work,
        texts=texts,
        tokens_per_text=tokens,
        dense_up_to=spec.dense_up_to,
        flops=flops,
        passes=passes,
        attention_passes=attention_passes,
        arithmetic_seconds=arithmetic,
        memory_seconds=traffic,
        modelled_seconds=None if batch_seconds is None else batch_seconds * num_tokens / batch,
        largest_batch_tokens=most,
        topology=topology,
    )
