"""Rotary positions from config.json: base, rotated share of a head, scaling.

The frequencies are computed in float32, in the order of operations of transformers 5.23, because an
error of one unit in the last place of a frequency is multiplied by the position in the angle.
"""

from __future__ import annotations

import math

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import DynamicNtk, Rope


def _powers(dims: int, theta: float) -> np.ndarray:
    """theta^(2i/dims), float32 [dims/2].

    They are computed in float64 and rounded once. Of 3,520 powers, 37 then differ from PyTorch's;
    with NumPy's float32 powers it would be 690.
    """
    exponent = np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims)
    return np.power(np.float64(theta), exponent.astype(np.float64)).astype(np.float32)


def _default(dims: int, theta: float) -> np.ndarray:
    """theta^(-2i/dims), float32 [dims/2]."""
    return np.float32(1) / _powers(dims, theta)


def _plain(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    return {"inv_freq": _default(dims, theta)}


def _linear(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    """Position interpolation (Chen et al. 2023, arXiv:2306.15595)."""
    return {"inv_freq": _default(dims, theta) / np.float32(p["factor"])}


def _dynamic(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    """Dynamic NTK (Peng et al. 2023, arXiv:2309.00071, section 3.3): see `angles`."""
    ntk = DynamicNtk(theta=theta, factor=float(p["factor"]), trained=context, dims=dims)
    return {"inv_freq": _default(dims, theta), "ntk": ntk}


def _llama3(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    """Llama 3.1: slow channels are interpolated, fast ones unchanged, with a smooth transition."""
    factor, low, high = p["factor"], p["low_freq_factor"], p["high_freq_factor"]
    inv_freq = _default(dims, theta)
    wavelength = np.float32(2 * math.pi) / inv_freq
    slow = np.where(wavelength > trained / low, inv_freq / np.float32(factor), inv_freq)
    smooth = (np.float32(trained) / wavelength - np.float32(low)) / np.float32(high - low)
    between = ~(wavelength < trained / high) & ~(wavelength > trained / low)
    mixed = (1 - smooth) * slow / np.float32(factor) + smooth * slow
    return {"inv_freq": np.where(between, mixed, slow)}


def _yarn(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    """YaRN (Peng et al. 2023, arXiv:2309.00071, section 3.4)."""
    factor = p.get("factor") or context / trained

    def gain(scale: float, mscale: float = 1.0) -> float:
        return 1.0 if scale <= 1 else 0.1 * mscale * math.log(scale) + 1.0

    attention_factor = p.get("attention_factor")
    mscale, mscale_all = p.get("mscale"), p.get("mscale_all_dim")
    if attention_factor is None:
        if mscale and mscale_all:
            attention_factor = gain(factor, mscale) / gain(factor, mscale_all)
        else:
            attention_factor = gain(factor)

    def channel(turns: float) -> float:
        """The (fractional) channel pair that makes so many turns over the trained context."""
        return dims * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = channel(p.get("beta_fast") or 32), channel(p.get("beta_slow") or 1)
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    if low == high:
        high += 0.001
    ramp = (np.arange(dims // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
    keep = 1 - np.clip(ramp, 0, 1)
    wavelength = _powers(dims, theta)
    extrapolated = np.float32(1) / wavelength
    interpolated = np.float32(1) / (np.float32(factor) * wavelength)
    return {"inv_freq": interpolated * (1 - keep) + extrapolated * keep, "gain": attention_factor}


def _proportional(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    """A share of the pairs turns as in a head that turns whole; the others stay (Gemma 4)."""
    turned = int(p.get("partial_rotary_factor", 1.0) * dims // 2)
    inv_freq = _default(dims, theta) / np.float32(p.get("factor", 1.0))
    inv_freq[turned:] = 0
    return {"inv_freq": inv_freq}


def _longrope(p: Config, dims: int, theta: float, trained: int, context: int) -> dict:
    """LongRoPE (Ding et al. 2024, arXiv:2402.13753) as Phi-3 uses it."""
    factor = p.get("factor") or context / trained
    attention_factor = p.get("attention_factor")
    if attention_factor is None:
        wide = 1 + math.log(factor) / math.log(trained) if factor > 1 else 1.0
        attention_factor = math.sqrt(wide)
    powers = _powers(dims, theta)

    def stretched(key: str) -> np.ndarray:
        factors = np.asarray(p[key], np.float32)
        if factors.shape != powers.shape:
            raise InputError(f"{p.where}: {key} has {factors.size} entries, not {powers.size}")
        return np.float32(1) / (factors * powers)

    return {
        "inv_freq": stretched("short_factor"),
        "long_inv_freq": stretched("long_factor"),
        "long_beyond": trained,
        "gain": p.get("short_mscale", attention_factor),  # Phi-3.5-MoE gives both factors
        "long_gain": p.get("long_mscale", 0.0),
    }


SCALINGS = {
    "default": _plain,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "proportional": _proportional,
    "mrope": _plain,  # channels that turn by a picture's coordinates: in text all are the position
    "deepseek_yarn": _yarn,  # its name in DeepSeek-like files of other makers
    "su": _longrope,  # LongRoPE's first name on the Hub
}

# Keys that only some types of scaling use and transformers ignores for the others, and keys without
# an effect on text (mrope_* assigns channels to the coordinates of an image, which are all equal to
# the position in a text).
_SCALING_KEYS = frozenset(
    """
    attention_factor beta_fast beta_slow factor finetuned high_freq_factor long_factor
    long_mscale low_freq_factor mrope_interleaved mrope_section mscale mscale_all_dim
    original_max_position_embeddings rope_type
    short_factor short_mscale truncate type
    """.split()
)


# The keys of objects for layers of each type.
_LAYER_TYPES = ("full_attention", "sliding_attention", "hybrid", "hybrid_sliding")

_ASSUMED = {"rope_theta": 10_000.0}  # the defaults


def plain(dims: int, *, theta: float = 10_000.0, pairs: str = "half") -> Rope:
    """A `Rope` without scaling, for families whose config.json has no `rope_parameters`."""
    inv_freq = tuple(float(f) for f in _default(dims, theta))
    return Rope(dims=dims, inv_freq=inv_freq, pairs=pairs)


def described(config: Config) -> Config | None:
    """The object rope_scaling or rope_parameters of all layers; None if there is neither.

    If both are present, rope_scaling has priority, as in transformers 5, which ignores the other
    one. Raises InputError if that would lose a base or a rotated share.
    """
    new, old = config.child("rope_parameters"), config.child("rope_scaling")
    if new is None or old is None:
        return new or old
    for key in ("rope_theta", "partial_rotary_factor"):
        value = new.peek(key)
        if value not in (None, old.peek(key), config.peek(key) or _ASSUMED.get(key)):
            raise InputError(
                f"{config.where}: rope_scaling wins over rope_parameters, and would lose its "
                f"{key} = {value!r}; put that into rope_scaling too, or at the top level"
            )
    return old


def _parameters(config: Config, layer_type: str | None) -> Config | None:
    """The object that describes the scaling, from the keys of transformers 4 or 5."""
    if layer_type is None:
        return described(config)
    # transformers 5 has one object per layer type, transformers 4 one for layers without a window.
    nested, old = config.child("rope_parameters"), config.child("rope_scaling")
    if nested is None:
        return old if layer_type == "full_attention" else None
    if old is not None:
        raise InputError(
            f"{config.where}: rope_scaling beside rope_parameters, which is an object per type of "
            "layer; move its values into the object of the layer type that they are for"
        )
    nested.inert(*_LAYER_TYPES, "rope_type")  # of which each object has its own
    nested.check_all_read()
    return nested.child(layer_type)


def from_config(
    config: Config,
    *,
    head_dim: int,
    theta_key: str = "rope_theta",
    theta: float = 10_000.0,
    partial_key: str | None = None,
    partial: float = 1.0,
    pairs: str = "half",
    layer_type: str | None = None,
    inert: tuple[str, ...] = (),
) -> Rope:
    """The `Rope` of a config.json written by transformers 4 or 5.

    Args:
      config: the model's config; `max_position_embeddings` is read from it.
      head_dim: channels per head.
      theta_key: the key of the base in transformers 4 (GPT-NeoX: rotary_emb_base).
      theta: the default of the base.
      partial_key: the key of the rotated share of a head in transformers 4, if the family has one.
      partial: the default of the share.
      pairs: which channels are rotated together, see `Rope`.
      layer_type: the type of layer, in families with a rope for each type.
      inert: keys beside those of the scaling that are not about the rope.
    """
    p = _parameters(config, layer_type) or Config({}, config.where)
    config.inert("rope_parameters", "rope_scaling")
    # A key at the top level counts as read even if the nested one has priority: transformers
    # writes both.
    outer_theta = config.get(theta_key, theta)
    theta = p.get("rope_theta", outer_theta)
    outer_partial = config.get(partial_key, partial) if partial_key else partial
    kind = p.get("rope_type") or p.get("type") or "default"
    share = p.get("partial_rotary_factor", outer_partial) if kind != "proportional" else 1.0
    if partial_key is None and share != 1.0:
        raise InputError(
            f"{config.where}: partial_rotary_factor {share} in a family that rotates whole heads"
        )
    context = config["max_position_embeddings"]
    trained = _trained(config, p, context)
    if kind not in SCALINGS:
        raise InputError(f"{config.where}: unknown rope_type {kind!r}; known: {sorted(SCALINGS)}")
    dims = int(head_dim * share)
    facts = SCALINGS[kind](p, dims, float(theta), trained, context)
    p.inert(*_SCALING_KEYS, *inert)
    p.check_all_read()
    for key in ("inv_freq", "long_inv_freq"):
        if key in facts:
            facts[key] = tuple(float(f) for f in facts[key])
    # An odd number of channels is rounded up to whole pairs, but the formula keeps the odd number.
    return Rope(dims=2 * len(facts["inv_freq"]), pairs=pairs, **facts)


def _trained(config: Config, p: Config, context: int) -> int:
    """The trained length in tokens, before scaling; the key at the top level has priority."""
    inner = p.get("original_max_position_embeddings")
    return config.get("original_max_position_embeddings") or inner or context


def context_of(config: Config) -> int:
    """The longest text, in tokens, that a model with rotary positions reads, scaling included.

    `max_position_embeddings` is the trained length for linear and dynamic scaling (transformers
    warns against raising it), either length for YaRN, and the scaled length for the others.
    """
    context = config["max_position_embeddings"]
    p = described(config)
    kind = (p.get("rope_type") or p.get("type")) if p else None
    if p is None or kind not in ("linear", "dynamic", "yarn"):
        return context
    trained = _trained(config, p, context)
    return max(context, int((p.get("factor") or 1) * trained))
