"""Measures speed and memory of scoring on this machine, for jaxmap and for PyTorch."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmap.atomic import temporary_folder
from jaxmap.benchmarking.interleaved import take_turns
from jaxmap.benchmarking.programs import VOCABULARY, make_texts
from jaxmap.benchmarking.report import BenchmarkReport, this_machine
from jaxmap.errors import InputError

# Shapes of Pythia (Biderman et al. 2023, arXiv:2304.01373): width, layers, heads.
SHAPES = {
    "14m": (128, 6, 4),
    "70m": (512, 6, 8),
    "160m": (768, 12, 12),
    "410m": (1024, 24, 16),
    "1.4b": (2048, 24, 16),
    "6.9b": (4096, 32, 32),
}
STORED = "float16"  # as the released Pythias are
RIVALS = ("torch-one", "torch-batched")


@dataclasses.dataclass(frozen=True)
class SpeedRow:
    """The results of one contestant on one shape.

    Fields:
      shape, name: the shape, a key of SHAPES, and the contestant.
      tokens_per_second: tokens without padding, the median over the timed turns.
      peak_mib: the largest resident memory of its process, in MiB.
      load_seconds: the seconds that loading, and compiling before it, took.
      first_turn_seconds: the seconds of the turn that is not timed.
      ceiling_share: the share of the machine's matmul rate that its products reach, at 2 FLOPs per
        weight and token. The embedding and attention's own products are not counted.
      worst_nats: the largest difference between its score of a text and jaxmap's.
    """

    shape: str
    name: str
    tokens_per_second: float
    peak_mib: float
    load_seconds: float
    first_turn_seconds: float
    ceiling_share: float
    worst_nats: float


def text(report: BenchmarkReport[SpeedRow]) -> str:
    """A Markdown table, and a sentence that compares jaxmap with each of the others."""
    settings = report.settings
    lines = [
        f"{report.machine['device']}, {report.machine['cores']} cores; "
        f"{settings['texts']} texts, {settings['dtype']}, median of {settings['repeats']} turns",
        "",
        "| shape | | tokens/s | of the matmul rate | peak MiB | load s | first turn s |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {r.shape} | {r.name} | {r.tokens_per_second:,.0f} | {r.ceiling_share:.0%} "
        f"| {r.peak_mib:,.0f} | {r.load_seconds:.1f} | {r.first_turn_seconds:.1f} |"
        for r in report.rows
    ]
    lines.append("")
    for rival in (r for r in report.rows if r.name != "jaxmap"):
        own = report.row(rival.shape, "jaxmap")
        speed = own.tokens_per_second / rival.tokens_per_second
        memory = own.peak_mib / rival.peak_mib
        lines.append(
            f"{rival.shape}: jaxmap scores {speed:.2f} times as fast as {rival.name} in "
            f"{memory:.2f} times the memory; scores agree within {rival.worst_nats:.0e} nats"
        )
    return "\n".join([*lines, ""])


def measure(
    shapes: Sequence[str],
    *,
    texts: int = 64,
    repeats: int = 3,
    dtype: str = "float32",
    stored: str = STORED,
    rivals: Sequence[str] | None = None,
) -> BenchmarkReport[SpeedRow]:
    """Scores the same random texts with jaxmap and its rivals in turns, on random checkpoints.

    Args:
      shapes: keys of SHAPES.
      texts: the number of texts, which have 150 to 350 tokens each.
      repeats: the number of timed turns; one that is not timed comes before them.
      dtype: the dtype of the arithmetic.
      stored: the dtype of the weights on disk.
      rivals: members of RIVALS; None: those that are installed.

    Raises InputError for a shape or rival that is unknown or not installed.
    """
    for shape in shapes:
        if shape not in SHAPES:
            raise InputError(f"{shape!r} is unknown; known: {', '.join(SHAPES)}", field="shapes")
    has_torch = importlib.util.find_spec("torch") is not None
    if rivals is None:
        rivals = RIVALS if has_torch else ()
    for rival in rivals:
        if rival not in RIVALS:
            raise InputError(f"{rival!r} is unknown; known: {', '.join(RIVALS)}", field="rivals")
        if not has_torch:
            raise InputError(f"{rival} needs torch: pip install torch", field="rivals")
    rows: list[SpeedRow] = []
    for shape in shapes:
        rows += _measure_one(shape, texts, repeats, dtype, stored, rivals)
    settings = dict(texts=texts, repeats=repeats, dtype=dtype, stored=stored, shapes=list(shapes))
    return BenchmarkReport(this_machine(), settings, rows)


def _measure_one(
    shape: str, num_texts: int, repeats: int, dtype: str, stored: str, rivals: Sequence[str]
) -> list[SpeedRow]:
    names = [*rivals, "jaxmap"]
    with temporary_folder() as folder:
        make_checkpoint(shape, folder, stored)
        program = [sys.executable, "-m", "jaxmap.benchmarking.programs"]
        arguments = [str(folder), str(num_texts), dtype]
        commands = {name: [*program, name, *arguments] for name in [*names, "matmul"]}
        answers = take_turns(commands, repeats, shape)
    num_tokens = sum(len(text) for text in make_texts(num_texts))
    flops = max(answer["flops"] for answer in answers["matmul"])
    scores = {name: np.array(answers[name][-1]["scores"]) for name in names}
    D, L, _ = SHAPES[shape]
    weights = L * 12 * D * D + VOCABULARY * D
    rows = []
    for name in names:
        first, *timed = answers[name]
        speed = num_tokens / statistics.median(answer["seconds"] for answer in timed)
        rows.append(
            SpeedRow(
                shape=shape,
                name=name,
                tokens_per_second=speed,
                peak_mib=timed[-1]["peak_mib"],
                load_seconds=first["load"],
                first_turn_seconds=first["seconds"],
                ceiling_share=speed * 2 * weights / flops,
                worst_nats=float(np.abs(scores[name] - scores["jaxmap"]).max()),
            )
        )
    return rows


def make_checkpoint(shape: str, folder: Path, dtype: str = STORED) -> None:
    """Writes a checkpoint of a Pythia shape with random weights into `folder`."""
    import jax.numpy as jnp

    from jaxmap.architectures.config import Config
    from jaxmap.architectures.specs import spec_of
    from jaxmap.checkpoint.save import save_checkpoint
    from jaxmap.model import decoder

    D, L, H = SHAPES[shape]
    config = dict(
        model_type="gpt_neox",
        vocab_size=VOCABULARY,
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=H,
        intermediate_size=4 * D,
        max_position_embeddings=2048,
        rotary_pct=0.25,
    )
    spec = spec_of(Config(config, shape))
    _, shapes = decoder.abstract(spec, jnp.dtype(dtype))
    random = np.random.default_rng(0)
    leaves = {
        path: leaf.replace(
            jnp.asarray(random.standard_normal(leaf.shape, np.float32) * 0.02, dtype)
        )
        for path, leaf in decoder.named(shapes).items()
    }
    save_checkpoint(decoder.from_named(leaves), spec, config, folder)
