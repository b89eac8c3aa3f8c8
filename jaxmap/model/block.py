"""One layer of a decoder: norms, a mixer and an MLP around the residual stream."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind, ResidualFactors
from jaxmap.model.layers.altup import AlternatingUpdates, AugmentedResidual
from jaxmap.model.layers.gated_residual import GatedResidual
from jaxmap.model.layers.hyper_connections import HyperConnection
from jaxmap.model.layers.layer_embedding import EmbeddingBranch
from jaxmap.model.layers.linear import activations_dtype, parameter
from jaxmap.model.layers.ngram_embedding import NGramBranch
from jaxmap.model.layers.norms import GatedNorm, Norm
from jaxmap.model.layers.residual_affine import ResidualAffine
from jaxmap.model.mixers.attention import Attention
from jaxmap.model.mlps.dense import Mlp
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.spec import NORM_SLOTS, Spec
from jaxmap.model.sublayers import MIXERS, MLPS

KeysValues = tuple[jax.Array, jax.Array]


class Passed(NamedTuple):
    """What a layer passes to later ones beside the residual stream.

    Fields:
      keys_values: its keys and values (`Kind.keeps`); None: it keeps none.
      router_BTR: the state of its router (`Experts.router_width`); None: it has none.
    """

    keys_values: KeysValues | None = None
    router_BTR: jax.Array | None = None


class Block(nnx.Module):
    """One layer, x_BTD -> x_BTD. A norm slot that the Spec leaves out is the identity.

    With several residual streams (`Spec.altup`, `Spec.hyper`) it is x_BTPD -> x_BTPD. Beside its
    output a layer returns what it passes to later layers.
    """

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        self.parallel = spec.parallel
        self.residual_normed = spec.residual_normed
        self.residual_scale = spec.residual_scale
        self.factors = kind.residual
        self.attn_stream, self.mlp_stream = (
            parameter(jnp.ones((spec.D,), dtype), "d") if spec.residual_learnt else None
            for _ in range(2)
        )
        self.attn_affine, self.mlp_affine = (
            ResidualAffine(spec.D, dtype=dtype) if spec.residual_affine else None for _ in range(2)
        )
        self.halved = spec.halve_every > 0
        # Whether a branch's output is added to the residual stream as both of them are.
        self.as_they_are = (
            spec.residual_scale == 1
            and self.factors == ResidualFactors()
            and not (spec.residual_learnt or spec.residual_affine or spec.residual_normed)
            and not self.halved
        )
        self.rounds = spec.residual_float32  # a branch reads the residual stream rounded
        make = dict(dtype=dtype, rngs=rngs)
        absent = {part for part in ("mixer", "mlp") if getattr(kind, part) == "none"}
        for slot in NORM_SLOTS:
            part = "mixer" if slot.startswith("attn") else "mlp"
            own = slot in spec.norms - kind.bare and part not in absent
            norm: Norm | GatedNorm | None = None
            if own:
                out = slot in ("attn_out", "mlp_out")
                norm = plain = norm_of(spec, spec.D, dtype, spec.out_eps if out else 0.0)
                if spec.norm_gate_rank and slot not in kind.ungated:
                    norm = GatedNorm(plain, spec.D, spec.norm_gate_rank, **make)
            setattr(self, slot, norm)
        self.attn = None if "mixer" in absent else MIXERS[kind.mixer](spec, kind, **make)
        self.mlp = None if "mlp" in absent else MLPS[kind.mlp](spec, kind, **make)
        self.kind = kind
        self.altup = AlternatingUpdates(spec, **make) if spec.altup else None
        self.attn_hyper, self.mlp_hyper = (_connection(spec, dtype, rngs) for _ in range(2))
        self.ngrams = (
            NGramBranch(spec, spec.ngrams[kind.ngrams - 1], spec.streams, **make)
            if kind.ngrams
            else None
        )
        self.laurel = AugmentedResidual(spec, **make) if spec.laurel_rank else None
        self.embedding = EmbeddingBranch(spec, **make) if spec.layer_embedding else None
        self.scale = parameter(jnp.ones((1,), dtype)) if spec.layer_scaled else None

    def _normed(self, slot: str, x: jax.Array) -> jax.Array:
        norm = getattr(self, slot)
        if self.rounds and slot in ("attn_in", "mlp_in"):
            x = x.astype(activations_dtype(norm.scale[...]))
        return x if norm is None else norm(x)

    def __call__(
        self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts
    ) -> tuple[jax.Array, Passed]:
        if self.attn_hyper is not None and self.mlp_hyper is not None:
            return self._connected(x_BTD, geometry, facts, self.attn_hyper, self.mlp_hyper)
        if self.altup is None:
            y_BTD, passed = self._branches(x_BTD, geometry, facts)
            if self.embedding is not None:
                y_BTD = y_BTD + self.embedding(y_BTD, facts.embedding_BTP, geometry)
            return _learnt(y_BTD, self.scale), passed
        guess_BTPD = self.altup.predicted(x_BTD, geometry)
        y_BTD, passed = self._branches(guess_BTPD[:, :, self.altup.active], geometry, facts)
        x_BTPD = self.altup.corrected(guess_BTPD, y_BTD, geometry)
        if self.embedding is not None:  # of all streams but the first
            active_BTD = self.altup.output(x_BTPD)
            more_BTD = self.embedding(active_BTD, facts.embedding_BTP, geometry)
            x_BTPD = x_BTPD.at[:, :, 1:].add(more_BTD[:, :, None])
        return x_BTPD, passed

    def _connected(
        self,
        x_BTPD: jax.Array,
        geometry: Geometry,
        facts: LayerFacts,
        around_mixer: HyperConnection | GatedResidual,
        around_mlp: HyperConnection | GatedResidual,
    ) -> tuple[jax.Array, Passed]:
        """The streams after the mixer and the MLP, with hyper-connections around each."""
        assert self.mlp is not None, "hyper-connections around a mixer and an MLP"
        if self.ngrams is not None:
            x_BTPD = self.ngrams(x_BTPD, geometry)
        h_BTD, weights = around_mixer.collected(x_BTPD, geometry)
        mixed, kept = self._mixed(self._normed("attn_in", h_BTD), geometry, facts)
        x_BTPD = around_mixer.added(x_BTPD, self._normed("attn_out", mixed), weights)
        h_BTD, weights = around_mlp.collected(x_BTPD, geometry)
        mlp = self.mlp(self._normed("mlp_in", h_BTD), geometry, facts)
        return around_mlp.added(x_BTPD, self._normed("mlp_out", mlp), weights), Passed(kept)

    def _mixed(
        self,
        h_BTD: jax.Array,
        geometry: Geometry,
        facts: LayerFacts,
        stream: dict[str, jax.Array] | None = None,
    ) -> tuple[jax.Array, KeysValues | None]:
        """The mixer's output, see `_stream`, and the keys and values that the layer keeps."""
        attn, stream = self.attn, stream or {}
        assert attn is not None
        if not isinstance(attn, Attention) or not (self.kind.keeps or self.kind.reads):
            return attn(h_BTD, geometry, facts, **stream), None
        keys_values = (
            facts.keys_values if self.kind.reads else attn.keys_values(h_BTD, geometry, facts)
        )
        assert keys_values is not None
        kept = keys_values if self.kind.keeps else None
        return attn.attended(h_BTD, keys_values, geometry, facts, **stream), kept

    def _stream(
        self, part: str, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts
    ) -> dict[str, jax.Array]:
        """The argument by which a branch adds its output to the residual stream itself.

        Empty where it does not. It does on a GPU, in the kernel of its last product, where neither
        the stream nor the output changes before the sum.
        """
        adds = (
            getattr(geometry, "platform", "") == "gpu"
            and type(getattr(self, part)) in (Attention, Mlp)
            and getattr(self, f"{part}_out") is None
            and self.as_they_are
            and facts.residual is None
        )
        return {"stream_BTD": x_BTD} if adds else {}

    def _branches(
        self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts
    ) -> tuple[jax.Array, Passed]:
        """The residual stream after the mixer and the MLP."""
        if self.attn is None or self.mlp is None:
            return self._one_branch(x_BTD, geometry, facts), Passed()
        h_BTD = self._normed("attn_in", x_BTD)
        stream = self._stream("attn", x_BTD, geometry, facts)
        mixed, kept = self._mixed(h_BTD, geometry, facts, stream)
        attn = self._normed("attn_out", mixed)
        if self.parallel:
            norm = getattr(self, "mlp_in")  # noqa: B009 set by name above
            h_BTD = h_BTD if norm is None else norm(x_BTD)
            u_BTD = mixed if stream else x_BTD + self._scaled(attn, facts)
            stream = self._stream("mlp", u_BTD, geometry, facts)
            mlp = self.mlp(h_BTD, geometry, facts, **stream)
            if stream:
                return mlp, Passed(kept)
            return u_BTD + self._scaled(self._normed("mlp_out", mlp), facts), Passed(kept)
        if self.residual_normed:
            x_BTD = h_BTD
        f = self.factors
        if facts.residual is not None:
            f = ResidualFactors(*facts.residual)
        x_BTD = _learnt(_times(x_BTD, f.mixer_stream), self.attn_stream)
        attn = _times(attn, f.mixer)
        if self.attn_affine is not None:
            x_BTD, attn = self.attn_affine(x_BTD, attn)
        u_BTD = mixed if stream else x_BTD + self._scaled(attn, facts)
        u_BTD = self._normed("attn_res", u_BTD)
        if self.laurel is not None:
            u_BTD = self.laurel(u_BTD, h_BTD, geometry)
        h_BTD = self._normed("mlp_in", u_BTD)
        stream = self._stream("mlp", u_BTD, geometry, facts)
        state_BTR = facts.router_BTR
        if state_BTR is not None and isinstance(self.mlp, RoutedExperts):
            mlp, state_BTR = self.mlp.with_state(h_BTD, geometry, state_BTR)
        else:
            mlp = self.mlp(h_BTD, geometry, facts, **stream)
        if self.residual_normed:
            u_BTD = h_BTD
        u_BTD = _learnt(_times(u_BTD, f.mlp_stream), self.mlp_stream)
        mlp = _times(self._normed("mlp_out", mlp), f.mlp)
        if self.mlp_affine is not None:
            u_BTD, mlp = self.mlp_affine(u_BTD, mlp)
        y_BTD = mlp if stream else u_BTD + self._scaled(mlp, facts)
        y_BTD = self._normed("mlp_res", y_BTD)
        if self.halved:
            y_BTD = y_BTD * facts.after.astype(y_BTD.dtype)
        return y_BTD, Passed(kept, state_BTR)

    def _one_branch(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        """A layer that is a mixer alone, or an MLP alone."""
        if self.attn is not None:
            branch = self.attn(self._normed("attn_in", x_BTD), geometry, facts)
            branch = self._normed("attn_out", branch)
            return self._normed("attn_res", x_BTD + self._scaled(branch, facts))
        assert self.mlp is not None, "a layer of nothing"
        branch = self.mlp(self._normed("mlp_in", x_BTD), geometry, facts)
        branch = self._normed("mlp_out", branch)
        return self._normed("mlp_res", x_BTD + self._scaled(branch, facts))

    def _scaled(self, branch_BTD: jax.Array, facts: LayerFacts) -> jax.Array:
        if self.halved:
            branch_BTD = branch_BTD * facts.branch.astype(branch_BTD.dtype)
        return branch_BTD if self.residual_scale == 1 else branch_BTD * self.residual_scale


def _connection(spec: Spec, dtype, rngs: nnx.Rngs) -> HyperConnection | GatedResidual | None:
    """What stands around one branch of a layer with several residual streams."""
    if spec.gated_streams is not None:
        return GatedResidual(spec, dtype=dtype, rngs=rngs)
    return None if spec.hyper is None else HyperConnection(spec, rngs=rngs)


def _times(x: jax.Array, factor: float | jax.Array) -> jax.Array:
    if isinstance(factor, jax.Array):
        return (x * factor).astype(x.dtype)
    return x if factor == 1 else x * factor


def _learnt(x_BTD: jax.Array, factor_D: nnx.Param | None) -> jax.Array:
    """The residual stream, multiplied by a learnt vector or number where the model has one."""
    return x_BTD if factor_D is None else x_BTD * factor_D[...].astype(x_BTD.dtype)


def norm_of(
    spec: Spec,
    width: int,
    dtype,
    eps: float = 0.0,
    *,
    scale: bool = True,
    bias: bool = True,
    offset: float | None = None,
) -> Norm:
    """A norm of the spec's form over `width` channels, without scale or bias if these are not set.

    An `eps` of 0 and an `offset` of None mean the spec's.
    """
    return Norm(
        spec.norm,
        (width,),
        eps=eps or spec.eps,
        scale=spec.norm_scale and scale,
        bias=spec.norm_bias and bias,
        offset=spec.norm_offset if offset is None else offset,
        dtype=dtype,
    )
