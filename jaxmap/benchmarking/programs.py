"""The programs that are compared: jaxmap, and PyTorch in the two usual ways.

    python -m jaxmap.benchmarking.programs NAME FOLDER NUM_TEXTS DTYPE

does its work whenever it is asked to (`jaxmap.benchmarking.interleaved`). NAME is one of

  torch-one      the published way: a batch of one, no padding, full log-softmax
  torch-batched  length-sorted padded batches, log-sum-exp over real tokens only, in blocks
  jaxmap         packed rows, blocked readout
  matmul         no texts: one product of the shape of an MLP, which measures the machine's limit
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.benchmarking.interleaved import serve

if TYPE_CHECKING:
    from jaxmap.checkpoint.weights import Model
    from jaxmap.corpus.tokens import Tokens
    from jaxmap.engine.scorer import Scorer

VOCABULARY = 50304  # of Pythia
Work = Callable[[], dict[str, Any]]


def make_texts(count: int) -> list[np.ndarray]:
    """Makes random texts: token ids, int32, 150 to 350 in each."""
    random = np.random.default_rng(0)
    lengths = random.integers(150, 351, count)
    return [random.integers(0, VOCABULARY, n).astype(np.int32) for n in lengths]


def as_tokens(texts: list[np.ndarray]) -> Tokens:
    """The texts as the engine takes them; every id but the first of a text is scored."""
    from jaxmap.corpus.tokens import Tokens

    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    first, truncated = np.ones(len(texts), np.int32), np.zeros(len(texts), bool)
    return Tokens(np.concatenate(texts), offsets, first, truncated, truncated)


def torch_model(folder: Path, dtype: str) -> tuple[Any, str]:
    """Loads a checkpoint with transformers; returns the model and the name of its device."""
    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    return model.eval().to(device), device


def torch_batches(
    texts: list[np.ndarray], rows: int, device: str
) -> Iterator[tuple[np.ndarray, Any, Any]]:
    """Yields length-sorted, right-padded batches.

    Each is the indices of its texts [B], their ids [B, T] and a mask [B, T] that is 0 at padding.
    """
    import torch

    order = np.argsort([len(text) for text in texts])
    for start in range(0, len(texts), rows):
        batch = order[start : start + rows]
        T = max(len(texts[i]) for i in batch)
        ids_BT = torch.zeros((len(batch), T), dtype=torch.long)
        mask_BT = torch.zeros((len(batch), T), dtype=torch.long)
        for r, i in enumerate(batch):
            ids_BT[r, : len(texts[i])] = torch.from_numpy(texts[i]).long()
            mask_BT[r, : len(texts[i])] = 1
        yield batch, ids_BT.to(device), mask_BT.to(device)


def torch_one(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """Scores one text per forward pass, with all logits and a full log-softmax."""
    import torch

    model, device = torch_model(folder, dtype)

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        scores = []
        for text in texts:
            ids = torch.from_numpy(text).long()[None].to(device)
            logp = torch.log_softmax(model(ids).logits[0, :-1].float(), -1)
            scores.append(logp.gather(-1, ids[0, 1:, None]).double().sum().item())
        return {"scores": scores}

    return work


def torch_batched(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """Scores length-sorted, padded batches of 8; the head takes 512 real tokens at once."""
    import torch

    model, device = torch_model(folder, dtype)

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        scores = np.zeros(len(texts))
        for batch, ids_BT, mask_BT in torch_batches(texts, 8, device):
            hidden = model.gpt_neox(ids_BT, attention_mask=mask_BT).last_hidden_state
            real = mask_BT[:, 1:].bool()
            flat_ND, target_N = hidden[:, :-1][real], ids_BT[:, 1:][real]
            parts = []
            for at in range(0, len(flat_ND), 512):
                logits = model.get_output_embeddings()(flat_ND[at : at + 512]).float()
                wanted = logits.gather(-1, target_N[at : at + 512, None])[:, 0]
                parts.append(wanted - logits.logsumexp(-1))
            logp = torch.cat(parts).double().split(real.sum(1).tolist())
            scores[batch] = [one.sum().item() for one in logp]
        return {"scores": scores.tolist()}

    return work


def jaxmap_model(
    folder: Path,
    texts: list[np.ndarray],
    dtype: str,
    *,
    lens: bool = False,
    batch_tokens: int | None = None,
) -> tuple[Scorer, Model, Tokens]:
    """Loads a checkpoint as `jaxmap score` does, without programs that other runs compiled.

    The programs for these texts, `lens` and `batch_tokens` are compiled before it is loaded.
    """
    from jaxmap import runtime

    runtime.prepare()
    import jax

    # Compiling is timed, so it must happen.
    jax.config.update("jax_enable_compilation_cache", False)
    from jaxmap.checkpoint import weights
    from jaxmap.engine.scorer import Scorers
    from jaxmap.engine.scores import compile_for

    tokens, scorers = as_tokens(texts), Scorers()

    with weights.opened(folder) as found:
        empty = weights.shapes(found, dtype)
        compile_for(scorers.of(empty), empty, tokens, lens=lens, batch_tokens=batch_tokens)
        model = weights.load(found, dtype=dtype)
    return scorers.of(model), model, tokens


def jaxmap(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """Scores the texts as `jaxmap score` does."""
    scorer, model, tokens = jaxmap_model(folder, texts, dtype)
    from jaxmap.engine.scores import score_tokens

    return lambda: {"scores": score_tokens(scorer, model, tokens).tolist()}


def matmul(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """Measures the FLOPs per second of a product [4096, D] x [D, 4 D] in JAX, the best of eight.

    It is summed in float32, as every product of the engine is.
    """
    import jax
    import jax.numpy as jnp

    D = json.loads((folder / "config.json").read_text())["hidden_size"]
    a_ND = jnp.ones((4096, D), dtype)
    b_DF = jnp.ones((D, 4 * D), dtype)
    how = dict(precision="highest", preferred_element_type=jnp.float32)
    product = jax.jit(partial(jnp.matmul, **how))

    def work() -> dict[str, Any]:
        product(a_ND, b_DF).block_until_ready()
        best = float("inf")
        for _ in range(8):
            started = time.perf_counter()
            product(a_ND, b_DF).block_until_ready()
            best = min(best, time.perf_counter() - started)
        return {"flops": 2 * 4096 * D * 4 * D / best}

    return work


CONTESTANTS: dict[str, Callable[[Path, list[np.ndarray], str], Work]] = {
    "torch-one": torch_one,
    "torch-batched": torch_batched,
    "jaxmap": jaxmap,
    "matmul": matmul,
}


if __name__ == "__main__":
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    _, _name, _folder, _count, _dtype = sys.argv
    serve(lambda: CONTESTANTS[_name](Path(_folder), make_texts(int(_count)), _dtype))
