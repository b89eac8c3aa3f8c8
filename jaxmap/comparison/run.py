"""Models beside a reference, one after another; what is measured is kept in the store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import jax
from absl import logging

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.checkpoint.refs import Ref
from jaxmap.comparison import kept
from jaxmap.comparison.details import details_of
from jaxmap.comparison.kept import Pair
from jaxmap.comparison.sides import Side, shared_tokens
from jaxmap.comparison.table import Compared, Comparison, Floor, floor_of, row_of
from jaxmap.comparison.tokens import STATISTICS, TokenComparison
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.reference import ReferenceModel
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run compares.

    Fields:
      reference: what the others are compared with.
      refs: the models.
      quantisations: for each model: "none" is itself, the others are copies made here.
      dtype: the arithmetic of all, see PRECISIONS, or "auto".
      floor_dtype: another arithmetic, in which the reference and each copy are compared with
        themselves; "": none.
      batch_tokens: tokens per batch; None: a default for the device.
      ignore_config_keys: keys of config.json declared without effect on the logits.
    """

    reference: Ref
    refs: tuple[Ref, ...]
    quantisations: tuple[str, ...] = ("none",)
    dtype: str = "auto"
    floor_dtype: str = ""
    batch_tokens: int | None = None
    ignore_config_keys: tuple[str, ...] = ()


def compare_models(asked: Asked, texts: TextSet, store: Store, command: str = "") -> Comparison:
    """Compares each model with the reference; a model that fails does not stop the others.

    The reference stays in memory beside each model. What was measured of the same files, texts and
    arithmetic before is read from the store.

    Raises InputError where the reference cannot be read.
    """
    runner = _Runner(asked, texts, store, command)
    found: list[Compared] = []
    failures: list[tuple[str, JaxmapError]] = []
    for ref in asked.refs:
        try:
            found += runner.compared(ref)
        except JaxmapError as error:
            logging.error("%s: %s", ref, error)
            failures.append((str(ref), error))
    return Comparison(
        reference=runner.reference.name,
        compared=tuple(found),
        texts_fingerprint=texts.fingerprint,
        reference_floor=runner.reference_floor() if asked.floor_dtype and found else None,
        failures=tuple(failures),
        command=command,
    )


class _Runner:
    """The reference, and what is the same for every model that is compared with it."""

    def __init__(self, asked: Asked, texts: TextSet, store: Store, command: str):
        self._asked = asked
        self._command = command
        self._texts = texts
        self._store = store.path
        self._scorers = Scorers()
        self._in_memory: ReferenceModel | None = None
        self.reference = Side(asked.reference, texts, asked.ignore_config_keys)

    def compared(self, ref: Ref) -> Iterator[Compared]:
        """One per quantisation of one model; the model itself is loaded once at most."""
        side = Side(ref, self._texts, self._asked.ignore_config_keys)
        tokens = shared_tokens(self._texts, self.reference, side)
        copies = _Copies(side, self._asked)
        for quantisation in self._asked.quantisations:
            label = _label(side.name, quantisation)
            facts = {
                "reference": self.reference.resolved.commit,
                "model": side.resolved.commit,
                "quantisation": quantisation,
                **self._facts(tokens),
            }
            path = kept.path_of(self._store, label, facts)
            if (known := kept.load(path)) is None:
                model = copies.get(quantisation)
                known = (
                    self._pair(self.reference.name, label, model),
                    self._measure(model, self._reference_model(), tokens, label),
                )
                kept.save(path, *known)
            pair, found = known
            floor = None
            if self._asked.floor_dtype:
                floor = self._floor(side, quantisation, tokens, copies)
            row = row_of(pair, found, self._texts.num_bytes)
            yield Compared(row, tuple(details_of(found, self._texts.num_bytes)), floor)

    def reference_floor(self) -> Floor:
        """The reference beside itself in the other arithmetic."""
        tokens = self.reference.tokens(self.reference.context)
        copies = _Copies(self.reference, self._asked, self._in_memory)
        return self._floor(self.reference, "none", tokens, copies)

    def _floor(self, side: Side, quantisation: str, tokens: Tokens, copies: _Copies) -> Floor:
        """A copy beside itself in the other arithmetic."""
        label, other = _label(side.name, quantisation), self._asked.floor_dtype
        facts = {
            "floor": side.resolved.commit,
            "quantisation": quantisation,
            "floor_dtype": other,
            **self._facts(tokens),
        }
        path = kept.path_of(self._store, f"{label}+{other}", facts)
        if (known := kept.load(path)) is None:
            model = copies.get(quantisation)
            if model.dtype == other:
                raise InputError(f"{other} is the arithmetic compared in", field="floor_dtype")
            itself = ReferenceModel(self._scorers.of(model), model)
            moved = copies.in_other(quantisation)
            pair = self._pair(label, label, moved)
            pair = dataclasses.replace(pair, reference_dtype=model.dtype)
            known = pair, self._measure(moved, itself, tokens, f"{label}, {other}")
            kept.save(path, *known)
        return floor_of(*known, self._texts.num_bytes)

    def _measure(
        self, model: weights.Model, reference: ReferenceModel, tokens: Tokens, desc: str
    ) -> TokenComparison:
        found = score_rows(
            self._scorers.of(model),
            model,
            tokens,
            statistics=tuple(STATISTICS.values()),
            per_token=True,
            reference=reference,
            batch_tokens=self._asked.batch_tokens,
            desc=desc,
        )
        return TokenComparison.of(found.per_token, found.offsets_N1)

    def _reference_model(self) -> ReferenceModel:
        if self._in_memory is None:
            loaded = weights.load(self.reference.checkpoint, dtype=self._asked.dtype, in_codes=True)
            self._in_memory = ReferenceModel(self._scorers.of(loaded), loaded)
        return self._in_memory

    def _pair(self, reference: str, label: str, model: weights.Model) -> Pair:
        one = model.storage
        return Pair(
            reference,
            label,
            format=one.file_type or one.format,
            num_bytes=one.num_bytes,
            num_parameters=one.num_parameters,
            dtype=model.dtype,
            texts=self._texts.fingerprint,
            command=self._command,
        )

    def _facts(self, tokens: Tokens) -> dict[str, Any]:
        """What the numbers of any comparison depend on."""
        ids = tokens.ids.tobytes() + tokens.offsets.tobytes() + tokens.first_scored.tobytes()
        return {
            "dtype": self._asked.dtype,
            "platform": jax.default_backend(),
            "texts": self._texts.fingerprint,
            "ids": hashlib.sha256(ids).hexdigest(),
            "ignored": sorted(self._asked.ignore_config_keys),
        }


class _Copies:
    """A model and its quantised copies, made when they are wanted; the model is loaded once."""

    def __init__(self, side: Side, asked: Asked, there: ReferenceModel | None = None):
        self._side, self._asked = side, asked
        self._model = None if there is None else there.model
        self._other: weights.Model | None = None

    def get(self, quantisation: str) -> weights.Model:
        if self._model is None:
            self._model = self._load(self._asked.dtype)
        return quantised(self._model, quantisation)

    def _load(self, dtype: str) -> weights.Model:
        # Other copies are made of floats.
        in_codes = self._asked.quantisations == ("none",)
        return weights.load(self._side.checkpoint, dtype=dtype, in_codes=in_codes)

    def in_other(self, quantisation: str) -> weights.Model:
        """The copy in the other arithmetic."""
        if self._other is None:
            self._other = self._load(self._asked.floor_dtype)
        return quantised(self._other, quantisation)


def _label(name: str, quantisation: str) -> str:
    return name if quantisation == "none" else f"{name}+{quantisation}"
