"""Rotary positions against NumPy float64: scalings by their papers, rotation by complex numbers."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxmap.architectures import rope as described
from jaxmap.architectures.config import Config
from jaxmap.model.layers import rope

DIMS, THETA, CONTEXT = 32, 5000.0, 512
POWERS = THETA ** (np.arange(0, DIMS, 2) / DIMS)  # of the base, by channel pair
PLAIN = 1 / POWERS


def made(scaling, context=CONTEXT, **keys):
    config = {"rope_theta": THETA, "max_position_embeddings": context, **keys}
    if scaling is not None:
        config["rope_scaling"] = scaling
    return described.from_config(Config(config, "a test"), head_dim=DIMS)


def angles_and_gain(scaling, position, length, context=CONTEXT, **keys):
    """Of one text: [T, DIMS / 2] and a number."""
    found = made(scaling, context, **keys)
    length_1T = jnp.full((1, len(position)), length, jnp.int32)
    angle = rope.angles(found, jnp.asarray(position, jnp.int32)[None], length_1T)
    gain = np.asarray(rope.gain(found, length_1T))
    assert np.ptp(gain) == 0
    return np.asarray(angle)[0], float(gain[0, 0])


def llama3(factor, low, high, trained):
    """Wavelengths beyond trained / low are interpolated, those below trained / high kept."""
    found = []
    for frequency in PLAIN:
        turns = trained * frequency / (2 * math.pi)  # over the trained context
        share = np.clip((turns - low) / (high - low), 0, 1)  # that is kept
        found.append((1 - share) * frequency / factor + share * frequency)
    return np.array(found)


def yarn(factor, fast, slow, trained):
    """Channels that turn more than `fast` times over the trained context are kept, those that turn
    less than `slow` times interpolated; between them, a ramp over the channel's number."""

    def channel(turns):
        low, high = -1000.0, 1000.0
        for _ in range(200):
            middle = (low + high) / 2
            more = trained * THETA ** (-2 * middle / DIMS) / (2 * math.pi) > turns
            low, high = (middle, high) if more else (low, middle)
        return low

    first, last = max(math.floor(channel(fast)), 0), min(math.ceil(channel(slow)), DIMS - 1)
    share = np.clip((np.arange(DIMS // 2) - first) / (last - first), 0, 1)
    return share * PLAIN / factor + (1 - share) * PLAIN


def dynamic(factor, length, trained):
    base = THETA * (factor * length / trained - (factor - 1)) ** (DIMS / (DIMS - 2))
    return base ** (-np.arange(0, DIMS, 2) / DIMS)


SHORT, LONG = np.linspace(1, 2, DIMS // 2), np.linspace(3, 9, DIMS // 2)
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": SHORT.tolist(),
    "long_factor": LONG.tolist(),
    "original_max_position_embeddings": 128,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}


@pytest.mark.parametrize(
    ("scaling", "length", "frequency", "gain"),
    [
        (None, 600, PLAIN, 1),
        ({"rope_type": "linear", "factor": 4.0}, 600, PLAIN / 4, 1),
        ({"type": "linear", "factor": 2.5}, 10, PLAIN / 2.5, 1),
        ({"rope_type": "dynamic", "factor": 2.0}, CONTEXT, PLAIN, 1),
        ({"rope_type": "dynamic", "factor": 2.0}, 700, dynamic(2, 700, CONTEXT), 1),
        (LLAMA3, 10, llama3(8, 1, 4, 256), 1),
        (YARN, 10, yarn(4, 32, 1, 128), 0.1 * math.log(4) + 1),
        (YARN | {"beta_fast": 8, "beta_slow": 2}, 10, yarn(4, 8, 2, 128), 0.1 * math.log(4) + 1),
        (YARN | {"attention_factor": 1.7}, 10, yarn(4, 32, 1, 128), 1.7),
        (LONGROPE, 128, PLAIN / SHORT, math.sqrt(1 + math.log(4) / math.log(128))),
        (LONGROPE, 129, PLAIN / LONG, math.sqrt(1 + math.log(4) / math.log(128))),
    ],
    ids=lambda value: value.get("rope_type", "old") if isinstance(value, dict) else "",
)
def test_every_scaling(scaling, length, frequency, gain):
    position = np.array([0, 1, 7, 200])
    ours, our_gain = angles_and_gain(scaling, position, length)
    np.testing.assert_allclose(ours, position[:, None] * frequency, rtol=2e-6)
    assert our_gain == pytest.approx(gain, rel=1e-6)


def test_each_text_of_a_row_by_its_own_length():
    found = made(LONGROPE)
    position_BT = jnp.asarray([[0, 1, 2, 0, 1]])
    length_BT = jnp.asarray([[300, 300, 300, 2, 2]])
    ours = np.asarray(rope.angles(found, position_BT, length_BT))[0]
    np.testing.assert_allclose(ours[:3], np.arange(3)[:, None] * PLAIN / LONG, rtol=2e-6)
    np.testing.assert_allclose(ours[3:], np.arange(2)[:, None] * PLAIN / SHORT, rtol=2e-6)


@pytest.mark.parametrize("rest", [0, 6])
@pytest.mark.parametrize("pairs", ["half", "adjacent"])
def test_a_rotation_is_a_complex_product(pairs, rest):
    random = np.random.default_rng(0)
    B, T, H, R = 2, 3, 2, 4
    x_BTHC = random.normal(size=(B, T, H, 2 * R + rest)).astype(np.float32)
    angle_BTR, gain = random.normal(0, 5, (B, T, R)), 1.3
    real = slice(0, R) if pairs == "half" else slice(0, 2 * R, 2)
    imaginary = slice(R, 2 * R) if pairs == "half" else slice(1, 2 * R, 2)
    z = x_BTHC[..., real].astype(np.float64) + 1j * x_BTHC[..., imaginary]
    z = z * gain * np.exp(1j * angle_BTR)[:, :, None]
    expected = x_BTHC.astype(np.float64)
    expected[..., real], expected[..., imaginary] = z.real, z.imag
    cos, sin = (jnp.asarray(gain * f(angle_BTR)[:, :, None], jnp.float32) for f in (np.cos, np.sin))
    ours = rope.rotate(jnp.asarray(x_BTHC), cos, sin, pairs)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours[..., 2 * R :], x_BTHC[..., 2 * R :])
