"""Attention by the kernel of a platform, where there is one that can, on every device of a mesh."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layers.rope import Turn
from jaxmap.model.mechanisms import Alibi

# By platform. Each has `supported` and `attend`; if its kernel turns queries and keys itself, also
# `lanes_of`. Imported at first use: importing Pallas takes longer than scoring a small model.
_MODULES = {"tpu": "attention_tpu", "gpu": "attention_gpu"}


def by_kernel(
    q_BTHC: jax.Array,
    k_BTGC: jax.Array,
    v_BTGC: jax.Array,
    geometry: Geometry,
    facts: LayerFacts,
    *,
    turn: Turn | None = None,
    softcap: float = 0.0,
    alibi: Alibi | None = None,
    sink_H: jax.Array | None = None,
    interpret: bool = False,
) -> jax.Array | None:
    """What `attend` says; None where the platform's kernel does not do it.

    interpret: runs the kernel's code on any platform, slowly.
    """
    if geometry.platform not in _MODULES:
        return None
    module = importlib.import_module(f"jaxmap.model.kernels.{_MODULES[geometry.platform]}")
    mesh = jax.sharding.get_abstract_mesh()
    pieces = 1 if mesh.empty else mesh.shape["model"]
    H, G = q_BTHC.shape[2], k_BTGC.shape[2]
    if H % pieces or G % pieces:
        return None

    def heads(x_BTHC: jax.Array) -> jax.ShapeDtypeStruct:
        B, T, H, C = x_BTHC.shape
        return jax.ShapeDtypeStruct((B, T, H // pieces, C), x_BTHC.dtype)

    if not module.supported(heads(q_BTHC), heads(k_BTGC), heads(v_BTGC), geometry.reach):
        return None
    slope_H = None if alibi is None else jnp.asarray(alibi.slopes, jnp.float32)
    rounded = alibi is not None and alibi.rounded
    attend = partial(
        module.attend, reach=geometry.reach, softcap=softcap, rounded=rounded, interpret=interpret
    )
    back_BT = geometry.position_BT
    back_BT = jnp.where(facts.window > 0, jnp.minimum(back_BT, facts.window - 1), back_BT)
    cos = sin = None
    if turn is not None and not hasattr(module, "lanes_of"):
        q_BTHC, k_BTGC = turn(q_BTHC), turn(k_BTGC)
    elif turn is not None:
        cos, sin, attend.keywords["partner"] = module.lanes_of(turn, heads(q_BTHC), heads(k_BTGC))
    places = (geometry.position_BT, back_BT, facts.scale, cos, sin)
    given: tuple[Any, ...] = (q_BTHC, k_BTGC, v_BTGC, *places, slope_H, sink_H)
    if mesh.empty:
        return attend(*given)
    everywhere, cut = PartitionSpec(), PartitionSpec(None, None, "model")
    per_head = PartitionSpec("model")
    return jax.shard_map(
        attend,
        in_specs=(*[cut] * 3, *[everywhere] * 5, per_head, per_head),
        out_specs=cut,
        axis_names={"model"},
        check_vma=False,
    )(*given)  # fmt: skip
