"""In which precision the kernels of this package run, and on what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


def has_float64() -> bool:
    """Whether the default device computes in float64: CPU and GPU do, a TPU does not."""
    return jax.default_backend() in ("cpu", "gpu")


@contextlib.contextmanager
def precise() -> Iterator[None]:
    """Inside, arrays of float64 stay float64 where the default device has it.

    Without float64 they become float32: the kernels take differences before they square, so
    that the digits that count are kept, and use no matrix product whose precision could vary.
    """
    with jax.enable_x64(has_float64()):
        yield
