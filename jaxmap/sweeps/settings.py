"""The settings of a scoring run: the options of `score`, `sweep` and the API."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.store.requests import Item
from jaxmap.store.statistics import DEFAULT, TOKEN_LOG_LIKELIHOOD, parse_statistics
from jaxmap.variant import JAX, LOGIT, TORCH, Variant, check_engine, parse_quantisations

DTYPES = ("auto", *PRECISIONS)
TORCH_DTYPES = ("float32", "bfloat16", "float16")  # of the engine torch; auto: the first
SAVE_EVERY_S = 60.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the models of a run are scored. Raises InputError for an impossible value.

    Fields:
      dtype: float32, bfloat16, float16 or bfloat16_3x; "auto": float32 on CPU, as
        stored on GPU, bfloat16_3x on TPU.
      lens: whether to score every layer of the model as well, through the logit lens.
      tuned_lens: a folder of tuned lenses to use instead of the logit lens; "": none.
      statistics: names in `jaxmap.store.statistics`; the log-likelihood is always included.
      keep_tokens: keep the log-probability of every token too; arrays per token are in 16 bits.
      quantize: "int8", "nf4", "fp4", each a result of its own; "none" is the model itself.
      weight_distance: measure weight distances to so many earlier checkpoints; 0: none.
      batch_tokens: tokens per batch; None: the default for the device.
      batch: "auto": the largest batch that fits in memory, found by compiling; "": batch_tokens.
      ignore_config_keys: keys of config.json that are declared to have no effect on the logits.
      save_every: seconds between two saves of unfinished scores; 0: after every batch.
      mesh: devices per axis, or "auto"; None: one device if there is only one, otherwise "auto".
      cache_budget: bytes of weights that a run may keep in the Hub's cache; None: no limit.
      engine: of ENGINES; "torch": transformers' models on PyTorch, whatever has no page.
    """

    dtype: str = "auto"
    lens: bool = False
    tuned_lens: str = ""
    quantize: tuple[str, ...] = ("none",)
    weight_distance: int = 0
    batch_tokens: int | None = None
    ignore_config_keys: tuple[str, ...] = ()
    save_every: float = SAVE_EVERY_S
    cache_budget: int | None = None
    mesh: str | None = None
    batch: str = ""
    statistics: tuple[str, ...] = DEFAULT
    keep_tokens: bool = False
    engine: str = JAX

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            known = ", ".join(DTYPES)
            raise InputError(f"{self.dtype!r} is unknown; known: {known}", field="dtype")
        object.__setattr__(self, "quantize", parse_quantisations(self.quantize))
        object.__setattr__(self, "statistics", parse_statistics(self.statistics))
        object.__setattr__(self, "lens", self.lens or bool(self.tuned_lens))
        object.__setattr__(self, "ignore_config_keys", tuple(self.ignore_config_keys))
        if self.weight_distance < 0:
            raise InputError("is negative; 0: none", **self._given("weight_distance"))
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise InputError("is too few; leave it unset", **self._given("batch_tokens"))
        if self.batch not in ("", "auto"):
            raise InputError(f"{self.batch!r} is unknown; known: auto", field="batch")
        if self.batch and self.batch_tokens is not None:
            raise InputError("`batch_tokens` and `batch=auto` exclude each other; give one of them")
        if not self.save_every >= 0:
            raise InputError("not a time; 0: after every batch", **self._given("save_every"))
        if self.mesh is not None:
            from jaxmap.model.mesh import parse  # imports JAX

            parse(self.mesh)
        if self.cache_budget is not None and self.cache_budget < 0:
            raise InputError("is negative; leave it unset", **self._given("cache_budget"))
        check_engine(self.engine)
        if self.engine == TORCH:
            self._check_torch()

    def _check_torch(self) -> None:
        """Raises InputError for what the engine torch cannot do, and where PyTorch is missing."""
        if self.dtype != "auto" and self.dtype not in TORCH_DTYPES:
            known = ", ".join(("auto", *TORCH_DTYPES))
            raise InputError(
                f"{self.dtype!r} is not of `engine=torch`; known: {known}", field="dtype"
            )
        for field, why in (
            ("tuned_lens", "lenses are trained and read by `engine=jax`; `lens=logit` is there"),
            ("weight_distance", "distances are measured by `engine=jax` only"),
            ("mesh", "`engine=torch` uses one device; leave it unset"),
            ("batch", "`engine=torch` does not search a size; give `batch_tokens`"),
            ("ignore_config_keys", "transformers decides which keys it reads; leave it unset"),
        ):
            if getattr(self, field):
                raise InputError(why, field=field)
        if importlib.util.find_spec("torch") is None:
            raise InputError("torch: needs PyTorch: pip install torch", field="engine")

    def _given(self, field: str) -> dict[str, Any]:
        return {"field": field, "value": getattr(self, field)}

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of the arrays to keep of each result."""
        tokens = (TOKEN_LOG_LIKELIHOOD,) if self.keep_tokens else ()
        return parse_statistics((*self.statistics, *tokens))

    def items(self, ref: str, revision: str | None) -> list[Item]:
        """The items of one model; raises InputError if there is no tuned lens for it."""
        tuned = ""
        if self.tuned_lens and "none" in self.quantize:
            from jaxmap.lens.tuned_lens import find_lens

            tuned = find_lens(Path(self.tuned_lens), ref, revision).translators
        lens = {"none": tuned or LOGIT * self.lens}  # only for the model itself, not its copies
        return [
            Item(
                ref,
                revision,
                Variant(self.dtype, one, lens=lens.get(one, ""), engine=self.engine),
                self.kept,
            )
            for one in self.quantize
        ]


PLAIN = Settings()  # the log-likelihood of each model in its default precision


def refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises InputError for the first unknown name, with the most similar known one."""
    known = list(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"{where}: unknown field {name!r}; {hint}")
