"""Chooses the attention kernel of a platform and runs it on every device of a mesh."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmap.model.attention_facts import Alibi
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layers.rope import Turn

# The module of each platform. It has `supported` and `attend`; if its kernel applies the rotary
# embedding itself, also `lanes_of`. A module is imported at its first use, since importing Pallas
# takes longer than scoring a small model.
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
    """Computes attention with the platform's kernel, or returns None where it has none that can.

    Args:
      q_BTHC, k_BTGC, v_BTGC: queries, keys and values; values may have another number of channels.
      geometry: the batch's platform, positions and reach.
      facts: the layer's window and its factor on q·k.
      turn: the rotary embedding of queries and keys; None: it has been applied, or there is none.
      softcap: scores become softcap * tanh(score / softcap); 0: they stay as they are.
      alibi: slopes of a bias that grows with the position; None: there is none.
      sink_H: a score per head that takes part in the softmax and has no value; None: there is none.
      interpret: whether to interpret the kernel, slowly, on any platform. Tests do so.

    Returns [B, T, H, channels of a value] in the dtype of the queries.
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
