"""The logit lens at every layer against PyTorch, in one interleaved run.

    python benchmarks/lens.py --shapes=70m --texts=32 --repeats=3

Random Pythia-shaped checkpoints (vocabulary 50304) and the same random texts of 150 to 350 tokens
for all; one process each, taking turns, so that noise on the machine meets all alike. Real tokens
per second, each at all L + 1 layers, over the fastest and the median turn; peak resident memory of
the process, loading included, and what scoring took on top of what was resident after loading; the
first turn, which compiles, apart. The ratios come last (Linux only):

  torch-one      output_hidden_states, then norm, head and log-softmax layer by layer, a text a time
  torch-batched  the same for length-sorted padded batches of 8
  jaxmap         packed rows, every layer read inside the one pass, in blocks of the vocabulary
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags

_SHAPES = flags.DEFINE_list("shapes", ["70m"], "Pythia shapes: 70m, 160m.")
_TEXTS = flags.DEFINE_integer("texts", 32, "How many texts.")
_REPEATS = flags.DEFINE_integer("repeats", 3, "Timed turns of each.")
_ONLY = flags.DEFINE_list("only", ["torch-one", "torch-batched", "jaxmap"], "Whom to run.")
_WORKER = flags.DEFINE_string("worker", None, "For the benchmark itself: be this worker.")
_FOLDER = flags.DEFINE_string("folder", None, "For the benchmark itself: the checkpoint.")
_BATCH_TOKENS = flags.DEFINE_integer("batch_tokens", None, "jaxmap's tokens of a batch.")
_BLOCK = flags.DEFINE_integer("vocabulary_block", None, "jaxmap's block of the vocabulary.")

SHAPES = {
    "70m": dict(hidden_size=512, num_hidden_layers=6, num_attention_heads=8),
    "160m": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12),
}
VOCABULARY = 50304


def make_checkpoint(shape: str, folder: Path) -> None:
    """A random checkpoint of a Pythia shape, as transformers saves it."""
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    torch.manual_seed(0)
    sizes = SHAPES[shape]
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        intermediate_size=4 * sizes["hidden_size"],
        max_position_embeddings=2048,
        **sizes,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)


def make_texts(count: int) -> list[np.ndarray]:
    """Ids of random texts, int32, 150 to 350 of them each."""
    random = np.random.default_rng(0)
    lengths = random.integers(150, 351, count)
    return [random.integers(0, VOCABULARY, n).astype(np.int32) for n in lengths]


def torch_lens(folder: Path, texts: list[np.ndarray], rows: int) -> Callable[[], np.ndarray]:
    """Scores [L + 1, N]; `rows` texts a forward pass, right-padded, the whole log-softmax."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    norm, head = model.gpt_neox.final_layer_norm, model.get_output_embeddings()
    order = np.argsort([len(t) for t in texts]) if rows > 1 else np.arange(len(texts))

    @torch.inference_mode()
    def run() -> np.ndarray:
        scores = np.zeros((model.config.num_hidden_layers + 1, len(texts)))
        for start in range(0, len(texts), rows):
            batch = order[start : start + rows]
            T = max(len(texts[i]) for i in batch)
            ids_BT = torch.zeros((len(batch), T), dtype=torch.long)
            mask_BT = torch.zeros((len(batch), T), dtype=torch.long)
            for r, i in enumerate(batch):
                ids_BT[r, : len(texts[i])] = torch.from_numpy(texts[i]).long()
                mask_BT[r, : len(texts[i])] = 1
            states = model.gpt_neox(
                ids_BT, attention_mask=mask_BT, output_hidden_states=True
            ).hidden_states
            real_BT = mask_BT[:, 1:].bool()
            for layer, state in enumerate(states):
                # The last is normed already.
                normed = state if layer == len(states) - 1 else norm(state)
                logp = torch.log_softmax(head(normed[:, :-1]), -1)
                logp_BT = logp.gather(-1, ids_BT[:, 1:, None])[..., 0].double()
                scores[layer, batch] = (logp_BT * real_BT).sum(1).numpy()
        return scores

    return run


def torch_one(folder: Path, texts: list[np.ndarray]) -> Callable[[], np.ndarray]:
    return torch_lens(folder, texts, 1)


def torch_batched(folder: Path, texts: list[np.ndarray]) -> Callable[[], np.ndarray]:
    return torch_lens(folder, texts, 8)


def jaxmap(folder: Path, texts: list[np.ndarray]) -> Callable[[], np.ndarray]:
    """The engine as `jaxmap score --lens` runs it."""
    from jaxmap import runtime

    runtime.prepare()
    import jax

    # Compiling is timed, so it must happen.
    jax.config.update("jax_enable_compilation_cache", False)
    from jaxmap.checkpoint import weights
    from jaxmap.corpus.tokens import Tokens
    from jaxmap.score.scorer import Scorer, Scorers, score_rows

    model = weights.load(folder, dtype="float32")
    lengths = np.array([len(t) for t in texts])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = Tokens(
        np.concatenate(texts), offsets, np.ones(len(texts), np.int32), np.zeros(len(texts), bool)
    )
    scorer = Scorers().of(model)
    if _BLOCK.value:
        scorer = Scorer(model.graph, vocabulary_block=_BLOCK.value)
    return lambda: score_rows(scorer, model, tokens, lens=True, batch_tokens=_BATCH_TOKENS.value)


WORKERS = {"torch-one": torch_one, "torch-batched": torch_batched, "jaxmap": jaxmap}


def _peak_gib() -> float:
    """Of the whole life of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _resident_gib(of: str) -> float:
    """VmRSS: now; VmHWM: the most since `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(of)) / 2**20


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def work() -> None:
    """Loads, then scores once for each line on stdin; answers with JSON lines."""
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    texts = make_texts(_TEXTS.value)
    run = WORKERS[_WORKER.value](Path(_FOLDER.value), texts)
    _forget_peak()
    loaded = _resident_gib("VmRSS")
    for _ in sys.stdin:
        started = time.perf_counter()
        scores = run()
        seconds = time.perf_counter() - started
        answer = {
            "seconds": seconds,
            "loaded_gib": loaded,
            "scoring_gib": _resident_gib("VmHWM"),
            "peak_gib": _peak_gib(),
        }
        print(json.dumps({**answer, "scores": scores.tolist()}), file=answers, flush=True)


def compare(shape: str) -> None:
    """Runs all workers in turns on one shape and prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        make_checkpoint(shape, Path(folder))
        command = [sys.executable, __file__, f"--folder={folder}", f"--texts={_TEXTS.value}"]
        command += [f"--{flag.name}={flag.value}" for flag in (_BATCH_TOKENS, _BLOCK) if flag.value]
        workers = {
            name: subprocess.Popen(
                [*command, f"--worker={name}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for name in _ONLY.value
        }
        turns: dict[str, list[dict]] = {name: [] for name in workers}
        for turn in range(_REPEATS.value + 1):
            for name, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                print(f"  {shape}: turn {turn} of {name} ...", end="\r", file=sys.stderr)
                worker.stdin.write("go\n")
                worker.stdin.flush()
                turns[name].append(json.loads(worker.stdout.readline()))
        for worker in workers.values():
            worker.communicate()

    num_tokens = sum(len(t) for t in make_texts(_TEXTS.value))
    layers = SHAPES[shape]["num_hidden_layers"] + 1
    print(
        f"\nPythia-{shape} shape, float32, all {layers} layers, {_TEXTS.value} texts, "
        f"{num_tokens} tokens"
    )
    print(
        f"{'':15}{'tokens/s':>10}{'(best)':>10}{'peak GiB':>10}{'scoring GiB':>12}"
        f"{'first turn s':>14}"
    )
    speed, peak, after = {}, {}, {}
    for name, answers in turns.items():
        timed = [a["seconds"] for a in answers[1:]] or [answers[0]["seconds"]]
        speed[name] = num_tokens / float(np.median(timed))
        peak[name] = answers[-1]["peak_gib"]
        after[name] = answers[-1]["scoring_gib"] - answers[-1]["loaded_gib"]
        print(
            f"{name:15}{speed[name]:10.0f}{num_tokens / min(timed):10.0f}{peak[name]:10.2f}"
            f"{after[name]:12.2f}{answers[0]['seconds']:14.1f}"
        )
    scores = {name: np.array(answers[-1]["scores"]) for name, answers in turns.items()}
    for name in turns:
        if name != "jaxmap" and "jaxmap" in turns:
            off = np.abs(scores["jaxmap"] - scores[name]).max()
            print(
                f"jaxmap / {name}: {speed['jaxmap'] / speed[name]:.2f} x the speed, "
                f"{peak['jaxmap'] / peak[name]:.2f} x the memory "
                f"({after['jaxmap'] / max(after[name], 1e-3):.2f} x of scoring alone), "
                f"scores within {off:.1e} nats"
            )


def main(_) -> None:
    if _WORKER.value:
        work()
        return
    import torch

    print(f"{os.cpu_count()} cores, torch {torch.__version__} ({torch.get_num_threads()} threads)")
    for shape in _SHAPES.value:
        compare(shape)


if __name__ == "__main__":
    app.run(main)
