"""The numbers of two models at every scored token, and their form in a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError

# Statistics of the engine, by the fields that hold them.
STATISTICS = {
    "log_likelihood_M": "log_likelihood",
    "reference_log_likelihood_M": "reference_log_likelihood",
    "kl_M": "token_kl",
    "kl_reverse_M": "token_kl_reverse",
    "same_top_M": "same_top_token",
    "same_top_5_M": "same_top_5",
    "entropy_M": "entropy",
    "reference_entropy_M": "reference_entropy",
    "reference_top_M": "reference_top_probability",
    "mass_outside_M": "mass_outside",
    "reference_mass_outside_M": "reference_mass_outside",
}


@dataclasses.dataclass(frozen=True)
class TokenComparison:
    """Two models at every scored token of a text set, text after text. M tokens, N texts.

    Fields:
      log_likelihood_M: the model's log-probability of the token, nats, float32.
      reference_log_likelihood_M: the reference's.
      kl_M: KL(reference || model) of the next-token distributions over the tokens that both have,
        nats, float32.
      kl_reverse_M: KL(model || reference).
      same_top_M: whether both give the highest probability to the same token, bool.
      same_top_5_M: how many of the five likeliest tokens of one are among those of the other, int8.
      entropy_M, reference_entropy_M: of each distribution, nats, float32.
      reference_top_M: the reference's highest probability, its confidence, float32.
      mass_outside_M, reference_mass_outside_M: the probability that each gives to tokens that the
        other does not have, float32.
      offsets_N1: int64; text n has the tokens offsets_N1[n] to offsets_N1[n + 1], exclusive.
    """

    log_likelihood_M: np.ndarray
    reference_log_likelihood_M: np.ndarray
    kl_M: np.ndarray
    kl_reverse_M: np.ndarray
    same_top_M: np.ndarray
    same_top_5_M: np.ndarray
    entropy_M: np.ndarray
    reference_entropy_M: np.ndarray
    reference_top_M: np.ndarray
    mass_outside_M: np.ndarray
    reference_mass_outside_M: np.ndarray
    offsets_N1: np.ndarray

    @classmethod
    def of(cls, per_token: Mapping[str, np.ndarray], offsets_N1: np.ndarray) -> TokenComparison:
        """From the engine's statistics per token, by their names."""
        arrays = {field: per_token[name] for field, name in STATISTICS.items()}
        arrays["same_top_5_M"] = arrays["same_top_5_M"].astype(np.int8)
        return cls(**arrays, offsets_N1=offsets_N1)

    def per_text(self, value_M: np.ndarray) -> np.ndarray:
        """The sum over each text's tokens, float64 [N]."""
        sums_M1 = np.concatenate([[0.0], np.cumsum(value_M, dtype=np.float64)])
        return np.diff(sums_M1[self.offsets_N1])

    @property
    def tokens_N(self) -> np.ndarray:
        """Scored tokens of each text."""
        return np.diff(self.offsets_N1)

    def save(self, path: Path) -> None:
        """Writes the arrays as .safetensors, whole or not at all."""
        from safetensors.numpy import save

        write_atomic(path, save({k: np.asarray(v) for k, v in self._arrays().items()}))

    @classmethod
    def load(cls, path: Path) -> TokenComparison:
        """Reads what `save` wrote; InputError names a damaged file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: damaged; delete it and compare again: {error}") from error
        names = {field.name for field in dataclasses.fields(cls)}
        if set(arrays) != names:
            raise InputError(f"{path}: holds {sorted(arrays)}, not a comparison; delete it")
        return cls(**arrays)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
