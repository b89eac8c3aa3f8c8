"""Who scores the texts: jaxmap, and PyTorch in the two ways in which people use it.

  python -m jaxmap.bench.contestants NAME FOLDER NUM_TEXTS DTYPE

torch-one      the published way: a batch of one, no padding, full log-softmax
torch-batched  length-sorted padded batches, log-sum-exp over real tokens only, in blocks
jaxmap         packed rows, blocked readout
matmul         no texts: one product of the shape of an MLP, for the machine's own limit
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.bench.turns import serve

VOCABULARY = 50304  # of Pythia
Work = Callable[[], dict[str, Any]]


def make_texts(count: int) -> list[np.ndarray]:
    """Ids of random texts, int32, 150 to 350 of them each."""
    random = np.random.default_rng(0)
    lengths = random.integers(150, 351, count)
    return [random.integers(0, VOCABULARY, n).astype(np.int32) for n in lengths]


def _torch_model(folder: Path, dtype: str) -> tuple[Any, str]:
    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    return model.eval().to(device), device


def torch_one(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """One text a forward pass, all logits, full log-softmax."""
    import torch

    model, device = _torch_model(folder, dtype)

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
    """Length-sorted batches of 8, right-padded; the head over real tokens, 512 at a time."""
    import torch

    model, device = _torch_model(folder, dtype)
    order = np.argsort([len(t) for t in texts])

    @torch.inference_mode()
    def work() -> dict[str, Any]:
        scores = np.zeros(len(texts))
        for start in range(0, len(texts), 8):
            rows = order[start : start + 8]
            T = max(len(texts[i]) for i in rows)
            ids_BT = torch.zeros((len(rows), T), dtype=torch.long)
            mask_BT = torch.zeros((len(rows), T), dtype=torch.long)
            for r, i in enumerate(rows):
                ids_BT[r, : len(texts[i])] = torch.from_numpy(texts[i]).long()
                mask_BT[r, : len(texts[i])] = 1
            ids_BT, mask_BT = ids_BT.to(device), mask_BT.to(device)
            hidden = model.gpt_neox(ids_BT, attention_mask=mask_BT).last_hidden_state
            real = mask_BT[:, 1:].bool()
            flat_ND, target_N = hidden[:, :-1][real], ids_BT[:, 1:][real]
            parts = []
            for at in range(0, len(flat_ND), 512):
                logits = model.get_output_embeddings()(flat_ND[at : at + 512]).float()
                wanted = logits.gather(-1, target_N[at : at + 512, None])[:, 0]
                parts.append(wanted - logits.logsumexp(-1))
            logp = torch.cat(parts).double().split(real.sum(1).tolist())
            scores[rows] = [one.sum().item() for one in logp]
        return {"scores": scores.tolist()}

    return work


def jaxmap(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """The engine as `jaxmap score` runs it."""
    from jaxmap import runtime

    runtime.prepare()
    import jax

    # Compiling is timed, so it must happen.
    jax.config.update("jax_enable_compilation_cache", False)
    from jaxmap.checkpoint import weights
    from jaxmap.corpus.tokens import Tokens
    from jaxmap.score.scorer import Scorers, score_tokens

    model = weights.load(folder, dtype=dtype)
    offsets = np.concatenate([[0], np.cumsum([len(t) for t in texts])])
    tokens = Tokens(
        np.concatenate(texts), offsets, np.ones(len(texts), np.int32), np.zeros(len(texts), bool)
    )
    scorer = Scorers().of(model)
    return lambda: {"scores": score_tokens(scorer, model, tokens).tolist()}


def matmul(folder: Path, texts: list[np.ndarray], dtype: str) -> Work:
    """FLOPs a second of [4096, D] x [D, 4 D], JAX, best of a few."""
    import jax
    import jax.numpy as jnp

    D = json.loads((folder / "config.json").read_text())["hidden_size"]
    a_ND = jnp.ones((4096, D), dtype)
    b_DF = jnp.ones((D, 4 * D), dtype)
    product = jax.jit(lambda a_ND, b_DF: jnp.matmul(a_ND, b_DF, precision="highest"))

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
