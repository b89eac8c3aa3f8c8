"""float64 on devices that have it, for the kernels of this package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


def has_float64() -> bool:
    """Whether the default device computes in float64: CPU and GPU do, a TPU does not."""
    return jax.default_backend() in ("cpu", "gpu")


@contextlib.contextmanager
def precise() -> Iterator[None]:
    """A context in which float64 arrays stay float64, if the default device supports it.

    On other devices they become float32. The kernels take differences before they square, so that
    the significant digits are kept, and use no matrix products whose precision could vary.
    """
    with jax.enable_x64(has_float64()):
        yield
