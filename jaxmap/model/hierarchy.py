"""What happens between stacks of layers that run several times, in a hierarchy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.block import norm_of
from jaxmap.model.layers.linear import parameter
from jaxmap.model.spec import Spec

States = dict[str, jax.Array]  # by Kind.stack, each [B, T, D]


class Hierarchy(nnx.Module):
    """The states that stacks leave for one another (Wang et al. 2025, arXiv:2506.21734).

    A stack reads the sum of the states of all stacks, and its normalised output is its new state.
    Before any has run, the state of the first stack is a learnt vector, that of the last one the
    embedding.
    """

    def __init__(self, spec: Spec, *, dtype):
        stacks = [kind.stack for kind, _, _ in spec.stacks()]
        self.first, self.last = stacks[0], stacks[-1]
        self.norm = norm_of(spec, spec.D, dtype)
        self.initial = parameter(jnp.zeros((spec.D,), dtype), "d")

    def start(self, x_BTD: jax.Array) -> States:
        """The states before any stack has run, from the embedding."""
        initial_D = self.initial[...].astype(x_BTD.dtype)
        return {self.first: jnp.broadcast_to(initial_D, x_BTD.shape), self.last: x_BTD}

    def entered(self, states: States) -> jax.Array:
        """The residual stream before the first layer of a run, x_BTD."""
        return states[self.first] + states[self.last]

    def left(self, stack: str, x_BTD: jax.Array, states: States) -> States:
        """The states after a run, from the residual stream after its last layer."""
        return {**states, stack: self.norm(x_BTD)}
