"""How devices are divided among the rows of a batch and the parts of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import logging
from jax.sharding import Mesh

from jaxmap.engine.device_memory import (
    USABLE,
    Memory,
    OnDevices,
    device_memory,
    longest_row,
    lower,
    memory_of,
    on_devices_or_floats,
)
from jaxmap.engine.scorer import BATCH_TOKENS
from jaxmap.errors import InputError
from jaxmap.hardware import cost_model
from jaxmap.hardware.topology import name_of
from jaxmap.model.mesh import Axes, bytes_of, make, parse
from jaxmap.model.spec import Spec

TYPICAL_REACH = 384  # tokens of the longest text of most batches of the published texts


@dataclasses.dataclass(frozen=True)
class Division:
    """How the devices are divided.

    Fields:
      memory: what one device needs; None where no limit was given.
      seconds: of a batch, modelled; None where the device is not modelled or nothing was compared.
    """

    axes: Axes
    memory: Memory | None
    seconds: float | None = None

    @property
    def relative(self) -> float:
        """What a token costs, in no unit: every part of the rows is a batch of its own."""
        assert self.seconds is not None
        return self.seconds / self.axes.rows


def modelled_seconds(compiled: jax.stages.Compiled, device: Any) -> float | None:
    """What a run of a program would take by `hardware.cost_model`; None where that cannot say."""
    name, text = name_of(device), compiled.as_text()
    if name is None or text is None:
        return None
    try:
        return cost_model.total(text, name)
    except (ValueError, KeyError) as error:
        logging.info("the cost of the program is not known: %s", error)
        return None


def choose(
    spec: Spec,
    dtype: str,
    devices: Sequence[Any],
    *,
    limit: int | None,
    weights: str = "",
    batch_tokens: int | None = None,
    reach: int = TYPICAL_REACH,
    lens: bool = False,
    on_devices: OnDevices | None = None,
    progress: Callable[[], object] = lambda: None,
    seconds_of: Callable[[jax.stages.Compiled, Any], float | None] | None = None,
) -> Division:
    """Chooses the "model" axis with which a batch fits and a token costs least; "data" is the rest.

    Cuts are tried from the smallest. One that is dearer than the one before ends the search, since
    larger ones exchange more still. Where costs are not known the smallest cut that fits is taken.

    Args:
      spec, dtype, weights, batch_tokens, lens, on_devices: see `lower`.
      devices: the devices to use.
      limit: bytes of one device; None: everything is assumed to fit, and nothing is compiled.
      reach: the tokens of the longest text of the batch whose cost is modelled.
      progress: called after each compilation.
      seconds_of: a compiled program and one of its devices -> seconds of a run, None if unknown;
        None: `modelled_seconds` where the device is modelled.

    Raises:
      InputError: when the model does not fit on all devices together.
    """
    count = len(devices)
    on_devices = on_devices_or_floats(spec, dtype, weights, on_devices)
    tokens = batch_tokens or BATCH_TOKENS[devices[0].platform]
    row = min(longest_row(spec), tokens)
    if seconds_of is None and name_of(devices[0]) is not None:
        seconds_of = modelled_seconds
    best: Division | None = None
    need = 0
    for model in (m for m in range(1, count + 1) if count % m == 0):
        axes = Axes(data=count // model, model=model)
        if limit is None:
            return Division(axes, None)
        _, shapes, own = on_devices(axes)
        need = bytes_of(shapes, own, axes)
        if need > USABLE * limit:
            continue
        mesh = make(axes, devices)
        options = dict(batch_tokens=tokens, row=row, lens=lens, on_devices=on_devices)
        found = memory_of(lower(spec, dtype, mesh, **options))  # type: ignore[arg-type]
        progress()
        need = limit if found is None else found.total
        if found is None or need > USABLE * limit:
            continue
        if count == 1 or seconds_of is None:
            return Division(axes, found)
        lowered = lower(spec, dtype, mesh, reach=min(reach, row), **options)  # type: ignore[arg-type]
        seconds = seconds_of(lowered.compile(), devices[0])
        progress()
        if seconds is None:
            return best or Division(axes, found)
        this = Division(axes, found, seconds)
        if best is not None and this.relative >= best.relative:
            return best
        best = this
    if best is not None:
        return best
    assert limit is not None
    raise InputError(
        f"needs {need / 1e9:.1f} GB per device on {count} devices, which have "
        f"{limit / 1e9:.1f}; use more devices, a smaller `batch_tokens`, or `dtype=bfloat16`",
        field="mesh",
        value="auto",
    )


def mesh_for(
    text: str | None,
    spec: Spec,
    dtype: str,
    weights: str = "",
    *,
    batch_tokens: int | None = None,
    lens: bool = False,
    on_devices: OnDevices | None = None,
) -> Mesh | None:
    """The mesh for what a user typed, see `mesh.parse`; None for a single device.

    Without `text` it is None if there is one device, otherwise the same as for "auto". The other
    arguments are those of `lower`.
    """
    devices = jax.devices()
    if text is None and len(devices) == 1:
        return None
    axes = parse(text or "auto")
    if axes is None:
        limit = device_memory(jax.local_devices()[0])
        options = dict(weights=weights, batch_tokens=batch_tokens, lens=lens, on_devices=on_devices)
        choice = choose(spec, dtype, devices, limit=limit, **options)  # type: ignore[arg-type]
        axes = choice.axes
        logging.info("mesh: %s", axes)
    return None if axes.size == 1 and len(devices) == 1 else make(axes)
