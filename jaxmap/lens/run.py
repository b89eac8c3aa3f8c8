"""Trains the tuned lenses of several checkpoints, one after another, and writes them to disk."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from jaxmap.atomic import check_writable, write_atomic
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.engine.scorer import VOCABULARY_BLOCK
from jaxmap.engine.scores import check_lengths
from jaxmap.environment import versions
from jaxmap.errors import InputError, JaxmapError, without_name
from jaxmap.lens.trainer import Training, train_lens
from jaxmap.lens.training_texts import write_trained_texts
from jaxmap.lens.tuned_lens import FACTS, TunedLens, lens_folder, read_lens, write_lens
from jaxmap.progress import progress
from jaxmap.results import Table
from jaxmap.store.record import checkpoint_name, now

_ASKED = "training.json"


@dataclasses.dataclass(frozen=True)
class Lenses(Table):
    """The result of a training command.

    Fields:
      trained: the lenses trained now.
      found: the lenses that were in the folder already.
      failed: (model, error) of each model whose lens could not be trained.
    """

    file = "lenses.csv"
    columns = ("model", "layer", "logit", "tuned")

    trained: list[TunedLens] = dataclasses.field(default_factory=list)
    found: list[TunedLens] = dataclasses.field(default_factory=list)
    failed: list[tuple[str, JaxmapError]] = dataclasses.field(default_factory=list)

    @property
    def failures(self) -> tuple[tuple[str, JaxmapError], ...]:
        """The models whose lens could not be trained, each with the error."""
        return tuple(self.failed)

    def raise_for_failures(self) -> None:
        """Raises JaxmapError if a training failed; InputError if bad input was the only cause."""
        if self.failed:
            only_input = all(isinstance(error, InputError) for _, error in self.failed)
            reasons = "; ".join(
                f"{name}: {without_name(error, name)}" for name, error in self.failed
            )
            raise (InputError if only_input else JaxmapError)(reasons)

    def rows(self) -> list[tuple[str, int, float, float]]:
        """KL(output || layer) on held-out tokens, nats per token, of both lenses at each layer."""
        return [
            (checkpoint_name(lens.ref, lens.revision), layer, logit, tuned)
            for lens in (*self.trained, *self.found)
            for layer, (logit, tuned) in enumerate(_held_out(lens))
        ]

    def text(self, *, failures: bool = True) -> str:
        """A table for each lens, and one line for each failure if `failures`."""
        lines = []
        for lens in (*self.trained, *self.found):
            tokens = lens.facts["held_out"]["tokens"]
            lines += [
                f"{lens.folder}: KL to the output on {tokens} held-out tokens, nats per token",
                f"  {'layer':>5}{'logit':>10}{'tuned':>10}",
            ]
            lines += [
                f"  {layer:5}{logit:10.4f}{tuned:10.4f}"
                for layer, (logit, tuned) in enumerate(_held_out(lens))
            ]
        trained, found, failed = len(self.trained), len(self.found), len(self.failed)
        lines.append(f"{trained} trained, {found} already done, {failed} failed")
        if failures:
            lines += [f"  {name}: {without_name(error, name)}" for name, error in self.failed]
        return "\n".join([*lines, ""])


def _held_out(lens: TunedLens) -> list[tuple[float, float]]:
    """(KL of the logit lens, KL of the tuned lens) at each layer but the output."""
    held_out = lens.facts["held_out"]
    return list(zip(held_out["logit"], held_out["tuned"], strict=True))


def train_lenses(
    refs: Sequence[Ref],
    texts: TextSet,
    out: Path,
    training: Training,
    *,
    dtype: str = "auto",
    ignore_config_keys: Sequence[str] = (),
    save_every: float = 60.0,
) -> Lenses:
    """Trains the lens of every model that has none in `out`.

    A model that fails is logged and returned in `Lenses.failed`; the others are trained.

    Args:
      refs: the models.
      texts: the texts for training and for measuring.
      out: a folder of lenses, see `jaxmap.lens.tuned_lens`.
      training: the settings of the training.
      dtype: the precision of the models, a key of PRECISIONS or "auto"; translators are float32.
      ignore_config_keys: keys of config.json that are declared to have no effect on the logits.
      save_every: seconds between two saves of the state from which a killed training resumes.
    """
    check_writable(out)
    lenses = Lenses()
    for i, ref in enumerate(refs, start=1):
        try:
            lens, new = _one(
                ref,
                texts,
                out,
                training,
                dtype,
                tuple(ignore_config_keys),
                save_every,
                f"[{i}/{len(refs)}] {ref}",
            )
        except JaxmapError as error:
            logging.error("%s: %s", ref, without_name(error, str(ref), ref.name))
            lenses.failed.append((str(ref), error))
            continue
        (lenses.trained if new else lenses.found).append(lens)
    return lenses


def _one(
    ref: Ref,
    texts: TextSet,
    out: Path,
    training: Training,
    dtype: str,
    ignore: tuple[str, ...],
    save_every: float,
    desc: str,
) -> tuple[TunedLens, bool]:
    """The lens of one model, and whether it was trained now."""
    folder = lens_folder(out, ref.name, ref.revision)
    files = fetch(resolve(ref))
    checkpoint = Checkpoint(files.folder, ignore)
    spec = checkpoint.architecture.spec
    asked: dict[str, Any] = {
        "commit": files.commit,
        "texts": texts.fingerprint,
        "dtype": dtype,
        **dataclasses.asdict(training),
    }
    if (folder / FACTS).exists():
        lens = read_lens(folder)
        _same(folder / FACTS, lens.facts.get("training", {}), asked)
        return lens, False
    if (folder / _ASKED).exists():
        _same(folder / _ASKED, json.loads((folder / _ASKED).read_bytes()), asked)
    write_atomic(folder / _ASKED, (json.dumps(asked, indent=1) + "\n").encode())

    tokenizer = load_tokenizer(files.folder)
    with progress(len(texts), "tokenise", "text", leave=False) as bar:
        tokens = tokenizer.encode(texts, spec.context, bar.update)
    check_lengths(tokens, spec.dense_up_to)
    model = weights.load(checkpoint, dtype=dtype)
    if tokens.ids.size and (largest := int(tokens.ids.max())) >= model.spec.V:
        raise InputError(
            f"the tokenizer gives id {largest}, but the model's vocabulary has {model.spec.V} "
            "entries: tokenizer and weights do not belong together"
        )
    trained = train_lens(
        model,
        tokens,
        training,
        folder / "state",
        vocabulary_block=VOCABULARY_BLOCK[jax.default_backend()],
        save_every=save_every,
        desc=desc,
    )
    write_trained_texts(folder, texts, trained.train_index)
    write_lens(
        folder,
        *(jax.device_get(one) for one in jax.tree.leaves(trained.translators)),
        ref=ref.name,
        revision=ref.revision,
        commit=files.commit,
        model_type=model.model_type,
        vocabulary=model.spec.V,
        tokenizer=tokenizer.fingerprint,
        training=asked,
        train_texts=trained.train_texts,
        held_out={
            "texts": trained.held_out_texts,
            "tokens": trained.held_out_tokens,
            "unit": "KL(final || layer) in nats per token, layers 0 to L - 1",
            "logit": [round(float(one), 6) for one in trained.logit_L],
            "tuned": [round(float(one), 6) for one in trained.tuned_L],
        },
        versions=versions(),
        created=now(),
    )
    (folder / _ASKED).unlink(missing_ok=True)
    shutil.rmtree(folder / "state", ignore_errors=True)
    return read_lens(folder), True


def _same(path: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises InputError, which names the setting, if a lens was trained with other settings."""
    for key in asked:
        if found.get(key) != asked[key]:
            raise InputError(
                f"{path}: trained with {key} {found.get(key)}, not {asked[key]}: remove the "
                "folder, or choose another `out`"
            )
