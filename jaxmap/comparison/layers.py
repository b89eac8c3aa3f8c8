"""The lens through which a model's layers are compared with the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxmap.checkpoint.weights import Model
from jaxmap.comparison.sides import Side
from jaxmap.engine.scorer import Lens
from jaxmap.engine.translators import Translators
from jaxmap.lens.tuned_lens import TunedLens
from jaxmap.variant import LOGIT


class LensOf(NamedTuple):
    """The logit lens (`tuned` is None), or a model's tuned lens."""

    tuned: TunedLens | None

    @property
    def name(self) -> str:
        """The lens as results name it, see `Variant.lens`."""
        return LOGIT if self.tuned is None else self.tuned.translators

    def read(self, side: Side, model: Model) -> Lens:
        """The lens as the engine takes it; the translators of a tuned lens are read from files."""
        if self.tuned is None:
            return True
        spec = model.spec
        return Translators(*map(jnp.asarray, self.tuned.read(side.resolved.commit, spec.L, spec.D)))


def by_layer(per_token: Mapping[str, np.ndarray], lens: Lens) -> Iterator[dict[str, np.ndarray]]:
    """The arrays [M] of each layer, the model's own output last.

    Args:
      per_token: by name, [M], or with a lens [L + 1, M].
      lens: False: no lens was used.
    """
    if lens is False:
        yield dict(per_token)
        return
    for layer in range(len(next(iter(per_token.values())))):
        yield {name: array[layer] for name, array in per_token.items()}
