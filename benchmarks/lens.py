"""The logit lens at every layer against PyTorch, in one interleaved run.

    python benchmarks/lens.py --shapes=70m --texts=32 --repeats=3

The checkpoints, texts and turns of `jaxmap bench`, each contestant in a process of its own. Real
tokens per second, each at all L + 1 layers, over the median and the fastest turn; peak resident
memory of the process, loading included, and what scoring took on top of what was resident after
loading; the first turn, which compiles, apart. The ratios come last (Linux only):

  torch-one      output_hidden_states, then norm, head and log-softmax layer by layer, a text a time
  torch-batched  the same for length-sorted padded batches of 8
  jaxmap         packed rows, every layer read inside the one pass, in blocks of the vocabulary
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging

from jaxmap.benchmarking.interleaved import serve, take_turns
from jaxmap.benchmarking.programs import (
    Work,
    jaxmap_model,
    make_texts,
    torch_batches,
    torch_model,
)
from jaxmap.benchmarking.report import BenchmarkReport, this_machine
from jaxmap.benchmarking.speed import SHAPES, make_checkpoint

_SHAPES = flags.DEFINE_list("shapes", ["70m"], f"Of Pythia: {', '.join(SHAPES)}.")
_TEXTS = flags.DEFINE_integer("texts", 32, "How many texts.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed turns of each.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", ["torch-one", "torch-batched", "jaxmap"], "Whom to run.")
_BATCH_TOKENS = flags.DEFINE_integer("batch_tokens", None, "jaxmap's tokens of a batch.")
_BLOCK = flags.DEFINE_integer("vocabulary_block", None, "jaxmap's block of the vocabulary.")
_OUT = flags.DEFINE_string("out", None, "A .json for the figures, the machine and the date.")
_WORKER = flags.DEFINE_string("worker", None, "For the benchmark itself: be this contestant.")
_FOLDER = flags.DEFINE_string("folder", None, "For the benchmark itself: the checkpoint.")


@dataclasses.dataclass(frozen=True)
class Row:
    """One contestant on one shape.

    Fields:
      layers: how many are read, the embedding's among them.
      tokens: of all texts.
      tokens_per_second, best_tokens_per_second: real tokens; of the median and the fastest turn.
      peak_mib: resident memory of its process at most.
      scoring_mib: of that, what scoring took on top of what was resident after loading, at most.
      worst_nats: largest difference of a text's score at any layer from jaxmap's; None without it.
    """

    shape: str
    name: str
    layers: int
    tokens: int
    tokens_per_second: float
    best_tokens_per_second: float
    peak_mib: float
    scoring_mib: float
    first_turn_seconds: float
    worst_nats: float | None


def torch_lens(folder: Path, texts: list[np.ndarray], rows: int) -> Work:
    """`rows` texts a forward pass, the whole log-softmax of a layer at a time."""
    import torch

    model, device = torch_model(folder, "float32")
    norm, head = model.gpt_neox.final_layer_norm, model.get_output_embeddings()

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        scores = np.zeros((model.config.num_hidden_layers + 1, len(texts)))
        for batch, ids_BT, mask_BT in torch_batches(texts, rows, device):
            states = model.gpt_neox(
                ids_BT, attention_mask=mask_BT, output_hidden_states=True
            ).hidden_states
            real_BT = mask_BT[:, 1:].bool()
            for layer, state in enumerate(states):
                # The last is normed already.
                normed = state if layer == len(states) - 1 else norm(state)
                logp = torch.log_softmax(head(normed[:, :-1]), -1)
                logp_BT = logp.gather(-1, ids_BT[:, 1:, None])[..., 0].double()
                scores[layer, batch] = (logp_BT * real_BT).sum(1).cpu().numpy()
        return {"scores": scores.tolist()}

    return work


def jaxmap_lens(folder: Path, texts: list[np.ndarray]) -> Work:
    """The engine as `jaxmap score --lens` runs it."""
    options: dict[str, Any] = dict(lens=True, batch_tokens=_BATCH_TOKENS.value)
    scorer, model, tokens = jaxmap_model(folder, texts, "float32", **options)
    from jaxmap.engine.scorer import Scorer
    from jaxmap.engine.scores import score_rows

    if _BLOCK.value:
        scorer = Scorer(model.graph, vocabulary_block=_BLOCK.value)
    return lambda: {
        "scores": score_rows(scorer, model, tokens, **options)["log_likelihood"].tolist()
    }


# Each answers with scores [L + 1, N].
CONTESTANTS = {
    "torch-one": partial(torch_lens, rows=1),
    "torch-batched": partial(torch_lens, rows=8),
    "jaxmap": jaxmap_lens,
}


def measure(shape: str) -> list[Row]:
    """Lets all contestants take turns on one shape."""
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(shape, Path(folder))
        command = [sys.executable, __file__, f"--folder={folder}", f"--texts={_TEXTS.value}"]
        command += [f"--{flag.name}={flag.value}" for flag in (_BATCH_TOKENS, _BLOCK) if flag.value]
        commands = {name: [*command, f"--worker={name}"] for name in _ONLY.value}
        answers = take_turns(commands, _REPEATS.value, shape)
    num_tokens = sum(len(text) for text in make_texts(_TEXTS.value))
    scores = {name: np.array(turns[-1]["scores"]) for name, turns in answers.items()}
    rows = []
    for name, (first, *timed) in answers.items():
        seconds = [turn["seconds"] for turn in timed]
        off = np.abs(scores[name] - scores["jaxmap"]).max() if "jaxmap" in scores else None
        rows.append(
            Row(
                shape=shape,
                name=name,
                layers=len(scores[name]),
                tokens=num_tokens,
                tokens_per_second=num_tokens / statistics.median(seconds),
                best_tokens_per_second=num_tokens / min(seconds),
                peak_mib=timed[-1]["peak_mib"],
                scoring_mib=timed[-1]["work_mib"],
                first_turn_seconds=first["seconds"],
                worst_nats=None if off is None else float(off),
            )
        )
    return rows


def text(shape: str, rows: list[Row]) -> str:
    """A table, and jaxmap against each of the others."""
    lines = [
        "",
        f"Pythia-{shape} shape, float32, all {rows[0].layers} layers, {_TEXTS.value} texts, "
        f"{rows[0].tokens} tokens",
        f"{'':15}{'tokens/s':>10}{'(best)':>10}{'peak GiB':>10}{'scoring GiB':>12}"
        f"{'first turn s':>14}",
    ]
    lines += [
        f"{row.name:15}{row.tokens_per_second:10.0f}{row.best_tokens_per_second:10.0f}"
        f"{row.peak_mib / 1024:10.2f}{row.scoring_mib / 1024:12.2f}{row.first_turn_seconds:14.1f}"
        for row in rows
    ]
    for own in (row for row in rows if row.name == "jaxmap"):
        for rival in (row for row in rows if row is not own):
            lines.append(
                f"jaxmap / {rival.name}: "
                f"{own.tokens_per_second / rival.tokens_per_second:.2f} x the speed, "
                f"{own.peak_mib / rival.peak_mib:.2f} x the memory "
                f"({own.scoring_mib / max(rival.scoring_mib, 1):.2f} x of scoring alone), "
                f"scores within {rival.worst_nats:.1e} nats"
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
        print(text(shape, found), flush=True)
    if _OUT.value:
        flagged = (_TEXTS, _REPEATS, _SHAPES, _BATCH_TOKENS, _BLOCK)
        settings = {flag.name: flag.value for flag in flagged}
        BenchmarkReport(machine, {**settings, "dtype": "float32"}, rows).save(_OUT.value)


for _flag, _known in ((_SHAPES, SHAPES), (_ONLY, CONTESTANTS)):
    flags.register_validator(
        _flag,
        lambda names, known=frozenset(_known): known.issuperset(names),
        f"known: {', '.join(_known)}",
    )

if __name__ == "__main__":
    app.run(main)
