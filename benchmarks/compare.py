"""What it costs to compare two models token by token, in one interleaved run.

    python benchmarks/compare.py --shapes=70m --texts=32 --repeats=3

The checkpoints, texts and turns of `jaxmap bench`, each contestant in a process of its own; the
second model is the first with all weights half as large again. Seconds; peak resident memory of the
process, and what the work took on top of what was resident after loading (Linux only):

  torch     both log-softmaxes over the whole vocabulary, a text at a time, and from them KL both
            ways, both log-probabilities, entropies and the likeliest tokens
  scorings  jaxmap scores one model and then the other: log-likelihoods alone
  compare   jaxmap compares them: all statistics of `jaxmap compare`
  kept      the same beside a reference whose final hidden states were kept in 16 bits before, and
            which is not in memory: one model is read, and the states from a file
  aligned   as of models with two tokenizers: both are scored, and their log-probabilities summed
            over stretches of bytes; here one token in three ends two bytes later in one of them
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

from jaxmap.benchmarking.interleaved import serve, take_turns
from jaxmap.benchmarking.programs import Work, jaxmap_model, make_texts, torch_model
from jaxmap.benchmarking.report import BenchmarkReport, this_machine
from jaxmap.benchmarking.speed import SHAPES, make_checkpoint

_SHAPES = flags.DEFINE_list("shapes", ["70m"], f"Of Pythia: {', '.join(SHAPES)}.")
_TEXTS = flags.DEFINE_integer("texts", 32, "How many texts.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed turns of each.", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "A .json for the figures, the machine and the date.")
_WORKER = flags.DEFINE_string("worker", None, "For the benchmark itself: be this contestant.")
_FOLDER = flags.DEFINE_string("folder", None, "For the benchmark itself: the checkpoint.")

LARGER = 1.5


@dataclasses.dataclass(frozen=True)
class Row:
    """One contestant on one shape.

    Fields:
      tokens: of all texts, counted once.
      seconds, best_seconds: of the median and the fastest turn.
      peak_mib: resident memory of its process at most.
      work_mib: of that, what the work took on top of what was resident after loading.
      token_kl: mean KL(first || second), nats; None of those that do not compare.
    """

    shape: str
    name: str
    tokens: int
    seconds: float
    best_seconds: float
    peak_mib: float
    work_mib: float
    token_kl: float | None


def torch_compared(folder: Path, texts: list[np.ndarray]) -> Work:
    """Full logits of both models, one text after another."""
    import torch

    first, device = torch_model(folder, "float32")
    second, _ = torch_model(folder, "float32")
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(LARGER)

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        kl = []
        for ids in texts:
            ids_1T = torch.from_numpy(ids).long()[None].to(device)
            p_TV, q_TV = (torch.log_softmax(m(ids_1T).logits[0, :-1], -1) for m in (first, second))
            kl.append((p_TV.exp() * (p_TV - q_TV)).sum(-1).double().sum().item())
            reverse_T = (q_TV.exp() * (q_TV - p_TV)).sum(-1)
            entropies = [-(one.exp() * one).sum(-1) for one in (p_TV, q_TV)]
            tops = [one.topk(5, -1).indices for one in (p_TV, q_TV)]
            logps = [one.gather(-1, ids_1T[0, 1:, None]) for one in (p_TV, q_TV)]
            del reverse_T, entropies, tops, logps
        return {"kl": kl}

    return work


class JaxmapPair:
    """A model and a larger one as jaxmap has them, and what is done with the two."""

    def __init__(self, folder: Path, texts: list[np.ndarray]):
        import jax

        self.scorer, self.first, self.tokens = jaxmap_model(folder, texts, "float32")
        larger = jax.tree.map(lambda leaf: leaf * LARGER, self.first.params)
        self.second = dataclasses.replace(self.first, params=larger)

    def scorings(self) -> Work:
        """The engine as `jaxmap score` runs it twice."""
        from jaxmap.engine.scores import score_rows

        def work() -> dict[str, Any]:
            for model in (self.first, self.second):
                score_rows(self.scorer, model, self.tokens)
            return {"kl": None}

        return work

    def compare(self) -> Work:
        """The engine as `jaxmap compare` runs it, with both models in memory."""
        from jaxmap.engine.reference import ReferenceModel

        return self._beside(ReferenceModel(self.scorer, self.first))

    def kept(self) -> Work:
        """The engine as `jaxmap compare --keep_states=16` runs it from the second model on."""
        from jaxmap.comparison.hidden_states import StatesInMemory, kept_reference
        from jaxmap.engine.reference import ReferenceModel

        source = StatesInMemory(ReferenceModel(self.scorer, self.first))
        packed = self.scorer.packed(self.tokens, None, self.first.spec.D)
        self.folder = tempfile.TemporaryDirectory()  # lives as long as the process
        path = Path(self.folder.name) / "states.npy"
        reference = kept_reference(path, source, self.tokens, packed, bits=16, budget=2**40)
        del self.first
        return self._beside(reference)

    def aligned(self) -> Work:
        """The engine as `jaxmap compare` runs it for models with two tokenizers."""
        from jaxmap.comparison.alignment import AlignedComparison
        from jaxmap.engine.scores import score_rows
        from jaxmap.stats.alignment import Spans

        num_N = self.tokens.num_scored
        offsets_N1 = np.concatenate([[0], np.cumsum(num_N, dtype=np.int64)])
        at_M = np.arange(offsets_N1[-1]) - np.repeat(offsets_N1[:-1], num_N)
        # Bytes where tokens end: every 4 of one model; of the other 6, 2 and 4 in turns.
        ends = 4 * at_M + 4, 4 * at_M + np.array([6, 4, 4])[at_M % 3]
        spans = []
        for end_M in ends:
            start_M = np.where(at_M == 0, 0, np.concatenate([[0], end_M[:-1]]))
            spans.append(Spans(start_M, end_M, offsets_N1))

        def work() -> dict[str, Any]:
            first, second = (
                score_rows(self.scorer, model, self.tokens, per_token=True).per_token[
                    "log_likelihood"
                ]
                for model in (self.first, self.second)
            )
            AlignedComparison.of(second, spans[1], first, spans[0])
            return {"kl": None}

        return work

    def _beside(self, reference: Any) -> Work:
        from jaxmap.comparison.token_comparison import STATISTICS
        from jaxmap.comparison.token_views import LIKELIEST
        from jaxmap.engine.scores import score_rows

        names = (*STATISTICS.values(), *LIKELIEST)

        def work() -> dict[str, Any]:
            found = score_rows(
                self.scorer,
                self.second,
                self.tokens,
                statistics=names,
                per_token=True,
                reference=reference,
            )
            return {"kl": found["token_kl"].tolist()}

        return work


CONTESTANTS = {
    "torch": torch_compared,
    "scorings": lambda folder, texts: JaxmapPair(folder, texts).scorings(),
    "compare": lambda folder, texts: JaxmapPair(folder, texts).compare(),
    "kept": lambda folder, texts: JaxmapPair(folder, texts).kept(),
    "aligned": lambda folder, texts: JaxmapPair(folder, texts).aligned(),
}


def measure(shape: str) -> list[Row]:
    """Lets all contestants take turns on one shape."""
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(shape, Path(folder))
        command = [sys.executable, __file__, f"--folder={folder}", f"--texts={_TEXTS.value}"]
        commands = {name: [*command, f"--worker={name}"] for name in CONTESTANTS}
        answers = take_turns(commands, _REPEATS.value, shape)
    tokens = sum(len(text) - 1 for text in make_texts(_TEXTS.value))
    rows = []
    for name, (_, *timed) in answers.items():
        seconds = [turn["seconds"] for turn in timed]
        kl = timed[-1]["kl"]
        rows.append(
            Row(
                shape=shape,
                name=name,
                tokens=tokens,
                seconds=statistics.median(seconds),
                best_seconds=min(seconds),
                peak_mib=timed[-1]["peak_mib"],
                work_mib=timed[-1]["work_mib"],
                token_kl=None if kl is None else sum(kl) / tokens,
            )
        )
    return rows


def text(rows: list[Row]) -> str:
    """A table, and what comparing costs beside the others."""
    lines = [
        f"Pythia-{rows[0].shape} shape, float32, {rows[0].tokens} tokens",
        f"{'':10}{'seconds':>9}{'(best)':>9}{'peak GiB':>10}{'work GiB':>10}  token KL",
    ]
    lines += [
        f"{row.name:10}{row.seconds:9.2f}{row.best_seconds:9.2f}{row.peak_mib / 1024:10.2f}"
        f"{row.work_mib / 1024:10.2f}  {'' if row.token_kl is None else f'{row.token_kl:.6g}'}"
        for row in rows
    ]
    of = {row.name: row for row in rows}
    for ours, name in itertools.product(("compare", "kept", "aligned"), ("scorings", "torch")):
        own, other = of[ours], of[name]
        lines.append(
            f"{ours} / {name}: {own.seconds / other.seconds:.2f} x the time "
            f"({own.best_seconds / other.best_seconds:.2f} of the fastest turns), "
            f"{own.peak_mib / other.peak_mib:.2f} x the memory"
        )
    return "\n".join(lines)


def main(_) -> None:
    if _WORKER.value:
        os.environ["TRANSFORMERS_VERBOSITY"] = "error"
        texts = make_texts(_TEXTS.value)
        serve(lambda: CONTESTANTS[_WORKER.value](Path(_FOLDER.value), texts))
        return
    logging.set_verbosity(logging.WARNING)
    machine, rows = this_machine(), []
    print(f"{machine['device']}, {machine['cores']} cores, torch {machine['versions']['torch']}")
    for shape in _SHAPES.value:
        rows += (found := measure(shape))
        print(text(found), flush=True)
    if _OUT.value:
        settings = {flag.name: flag.value for flag in (_TEXTS, _REPEATS, _SHAPES)}
        BenchmarkReport(machine, {**settings, "dtype": "float32"}, rows).save(_OUT.value)


flags.register_validator(
    _SHAPES, lambda names: set(SHAPES).issuperset(names), f"known: {', '.join(SHAPES)}"
)

if __name__ == "__main__":
    app.run(main)
