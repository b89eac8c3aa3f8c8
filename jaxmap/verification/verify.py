"""One model after another: scores of this engine and of PyTorch, their differences, a verdict."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import Tokens, load_tokenizer
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.errors import JaxmapError, without_name
from jaxmap.progress import progress
from jaxmap.results import Table
from jaxmap.verification.pytorch import TransformersModel

# A float32 score is a sum over layers and tokens of rounded numbers: what two correct programs may
# differ by grows with the score. PyTorch's own float32 is up to this far from float64 on real
# models; the subtlest wrong architecture (another GELU) is ten times further. The relative part is
# of the first layers: where they repeat the token that they read, a text scores -48,000 nats, and a
# unit in the last place of that number is 4e-3.
ABSOLUTE, RELATIVE = 2e-3, 2e-5
LAYERS = 2.0  # how many times that a layer's score may differ: earlier layers predict worse


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was found of one model; scores are in nats.

    Fields:
      name: the reference.
      text_N: the numbers of the texts that were scored.
      ours_N, theirs_N: this engine's and PyTorch's float32 scores.
      exact_N: float64 PyTorch's of the first texts, NaN of the others.
      ours_LN, theirs_LN, exact_LN: at every layer, embedding first; None where layers were not
        asked for.
      seconds, their_seconds: of scoring all texts (with compilation), by this engine and PyTorch.
    """

    name: str
    text_N: np.ndarray
    ours_N: np.ndarray
    theirs_N: np.ndarray
    exact_N: np.ndarray
    ours_LN: np.ndarray | None
    theirs_LN: np.ndarray | None
    exact_LN: np.ndarray | None
    seconds: float
    their_seconds: float

    @property
    def worst(self) -> float:
        """The largest difference of a text's score, in multiples of what is allowed.

        Where a float64 score is known it stands for PyTorch's.
        """
        return float(_of_allowed(self.ours_N, self.theirs_N, self.exact_N).max(initial=0))

    @property
    def of_layers(self) -> np.ndarray:
        """The same of each layer's score, [L + 1]; [0] where layers were not asked for."""
        if self.ours_LN is None or self.theirs_LN is None or self.exact_LN is None:
            return np.zeros(0)
        shares_LN = _of_allowed(self.ours_LN, self.theirs_LN, self.exact_LN)
        return shares_LN.max(1, initial=0) / LAYERS

    @property
    def worst_layer(self) -> float:
        """The largest of `of_layers`; 0 where layers were not asked for."""
        return float(self.of_layers.max(initial=0))

    @property
    def agrees(self) -> bool:
        """Whether no score, of the output or of a layer, differs by more than is allowed."""
        return max(self.worst, self.worst_layer) <= 1

    def nearer(self) -> tuple[int, int]:
        """Of the texts with a float64 score: to how many this engine is nearer than PyTorch's
        float32 or as near, and how many there are."""
        known_N = ~np.isnan(self.exact_N)
        ours, theirs, exact = self.ours_N[known_N], self.theirs_N[known_N], self.exact_N[known_N]
        return int((abs(ours - exact) <= abs(theirs - exact)).sum()), int(known_N.sum())


def _of_allowed(ours: np.ndarray, theirs: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Differences in multiples of what is allowed, from the float64 score where it is known."""
    best = np.where(np.isnan(exact), theirs, exact)
    return abs(ours - best) / (ABSOLUTE + RELATIVE * abs(best))


@dataclasses.dataclass(frozen=True)
class Verification(Table):
    """What `verify` found: one Verified per model, and (model, error) of those that failed."""

    file = "verify.csv"
    columns = ("model", "text", "layer", "jaxmap", "pytorch", "pytorch_float64", "difference")

    verified: tuple[Verified, ...]
    failures: tuple[tuple[str, JaxmapError], ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every model was verified and agrees with PyTorch."""
        return not self.failures and all(one.agrees for one in self.verified)

    def rows(self) -> list[tuple[str, int, str, float, float, float, float]]:
        """One row per text of each model, and per layer; scores in nats, layer "" is the output."""
        found = []
        for one in self.verified:
            for n, text in enumerate(one.text_N.tolist()):
                ours, theirs = float(one.ours_N[n]), float(one.theirs_N[n])
                exact = float(one.exact_N[n])
                found.append((one.name, text, "", ours, theirs, exact, ours - theirs))
                if one.ours_LN is None or one.theirs_LN is None or one.exact_LN is None:
                    continue
                sides = (one.ours_LN, one.theirs_LN, one.exact_LN)
                by_layer = zip(*(side_LN[:, n].tolist() for side_LN in sides), strict=True)
                for layer, (a, b, c) in enumerate(by_layer):
                    found.append((one.name, text, f"{layer:02}", a, b, c, a - b))
        return found

    def text(self, *, failures: bool = True) -> str:
        """A paragraph and one verdict per model, and one line per failure if `failures`."""
        lines = []
        for one in self.verified:
            difference_N = abs(one.ours_N - one.theirs_N)
            lines += [
                f"{one.name}: {len(one.text_N)} texts",
                f"  differs from PyTorch float32 by {np.median(difference_N):.1e} nats per text "
                f"(median), {difference_N.max(initial=0):.1e} (largest)",
            ]
            nearer, known = one.nearer()
            if known:
                known_N = ~np.isnan(one.exact_N)
                ours = abs(one.ours_N - one.exact_N)[known_N].max()
                theirs = abs(one.theirs_N - one.exact_N)[known_N].max()
                lines.append(
                    f"  from float64 (largest of {known} texts): jaxmap {ours:.1e}, PyTorch "
                    f"{theirs:.1e}; jaxmap is at least as near in {nearer} of {known}"
                )
            lines += _of_layers(one)
            lines.append(f"  time: jaxmap {one.seconds:.1f} s, PyTorch {one.their_seconds:.1f} s")
            lines.append(f"  verdict: {self._verdict(one)}")
        if failures:
            lines += [
                f"{name}: not verified: {without_name(error, name)}"
                for name, error in self.failures
            ]
        return "\n".join([*lines, ""])

    def _verdict(self, one: Verified) -> str:
        if one.agrees:
            return "agrees with PyTorch"
        where = "a text" if one.worst > 1 else "a layer"
        times = max(one.worst, one.worst_layer)
        return f"DIFFERS from PyTorch: {where} is off by {times:.1f} times what rounding allows"


def _of_layers(one: Verified) -> list[str]:
    """The lines about layers: the largest difference, and the one nearest to what is allowed."""
    if one.ours_LN is None or one.theirs_LN is None or one.exact_LN is None:
        return []
    gap_LN = abs(one.ours_LN - one.theirs_LN)
    layer, n = np.unravel_index(int(gap_LN.argmax()), gap_LN.shape)
    lines = [
        f"  layers: largest difference {gap_LN[layer, n]:.1e} nats, at layer {layer:02}, where the "
        f"text scores {one.theirs_LN[layer, n]:.4g}",
        f"  of what rounding allows: {100 * one.worst_layer:.2g} %, at layer "
        f"{int(one.of_layers.argmax()):02}",
    ]
    exact_LN = one.exact_LN
    if (known_N := ~np.isnan(exact_LN[0])).any():
        ours, theirs = (
            abs(side_LN - exact_LN)[:, known_N].max() for side_LN in (one.ours_LN, one.theirs_LN)
        )
        lines.append(f"  layers from float64: jaxmap {ours:.1e}, PyTorch {theirs:.1e}")
    return lines


def verify_models(
    refs: Sequence[Ref],
    texts: TextSet,
    *,
    n: int,
    double: int,
    lens: bool,
    ignore_config_keys: Sequence[str] = (),
) -> Verification:
    """Scores the same texts with both, one model after another; what fails is in the result.

    Args:
      refs: the models.
      texts: from which `n` are taken, evenly spaced.
      n: how many.
      double: how many of them, from the first, are scored in float64 too, layers included.
      lens: whether to compare every layer.
      ignore_config_keys: keys of config.json declared without effect on the logits.
    """
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(n, len(texts))).round().astype(int))
    sample = TextSet(
        tuple(texts.texts[i] for i in chosen),
        tuple(texts.prompts[i] for i in chosen) if texts.prompts is not None else None,
        texts.source,
    )
    verified, failures = [], []
    for ref in refs:
        try:
            verified.append(_one(ref, sample, chosen, double, lens, tuple(ignore_config_keys)))
        except JaxmapError as error:
            logging.error("%s: %s", ref, without_name(error, str(ref), ref.name))
            failures.append((str(ref), error))
    return Verification(tuple(verified), tuple(failures))


def _one(
    ref: Ref,
    texts: TextSet,
    number_N: np.ndarray,
    double: int,
    lens: bool,
    ignore: tuple[str, ...],
) -> Verified:
    folder = fetch(resolve(ref)).folder
    checkpoint = Checkpoint(folder, ignore)
    tokens = load_tokenizer(folder).encode(texts, checkpoint.architecture.spec.context)
    started = time.perf_counter()
    ours_RN = _ours(checkpoint, tokens, lens)
    seconds = time.perf_counter() - started
    ids = [
        (tokens.ids[a:b], int(first))
        for a, b, first in zip(
            tokens.offsets[:-1], tokens.offsets[1:], tokens.first_scored, strict=True
        )
    ]
    theirs, their_seconds = _theirs(folder, ids, lens, str(ref))
    exact_RN = np.full(theirs.shape, np.nan)
    if double:
        reference = TransformersModel(folder, "float64")
        for i in range(min(double, len(ids))):
            score = reference.score_layers if lens else reference.score
            exact_RN[:, i] = score(*ids[i])
    return Verified(
        name=str(ref),
        text_N=number_N,
        ours_N=ours_RN[-1],
        theirs_N=theirs[-1],
        exact_N=exact_RN[-1],
        ours_LN=ours_RN if lens else None,
        theirs_LN=theirs if lens else None,
        exact_LN=exact_RN if lens else None,
        seconds=seconds,
        their_seconds=their_seconds,
    )


def _ours(checkpoint: Checkpoint, tokens: Tokens, lens: bool) -> np.ndarray:
    """This engine's float32 scores, [L + 1, N] or [1, N]."""
    model = weights.load(checkpoint, dtype="float32")
    found = score_rows(Scorers().of(model), model, tokens, lens=lens)["log_likelihood"]
    return np.atleast_2d(found)


def _theirs(
    folder: Path, ids: list[tuple[np.ndarray, int]], lens: bool, desc: str
) -> tuple[np.ndarray, float]:
    """PyTorch's float32 scores, as `_ours`, and the seconds that the outputs took."""
    reference = TransformersModel(folder, "float32")
    with progress(len(ids), f"PyTorch: {desc}", "text") as bar:
        started, outputs = time.perf_counter(), []
        for text in ids:
            outputs.append(reference.score(*text))
            bar.update(0 if lens else 1)
        seconds = time.perf_counter() - started
        if not lens:
            return np.array([outputs]), seconds
        layers = []
        for text in ids:
            layers.append(reference.score_layers(*text))
            bar.update(1)
    return np.array(layers).T, seconds
