"""The one comparison with Hugging Face PyTorch that every family passes."""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows, score_tokens
from support import cases
from support.parity_record import record
from support.reference import lens_logp, logits, make_model, text_logp
from support.token_sets import make_tokens

# float32. PyTorch's own float32 text scores are up to 1.3e-3 nats off float64.
LOGITS, NATS = 1e-4, 2e-3
# Of a logit, for the types of which PyTorch's own float32 errs by more. Gemma 4 does not scale
# scores; Zamba2's logits in PyTorch's float32 are up to 3.3e-4 off float64, ours 1.2e-4: a hybrid
# layer's attention and MLP have no residual stream around them.
LOGITS_OF = {
    **dict.fromkeys(("gemma4", "gemma4_text", "gemma4_unified_text"), 5e-4),
    **dict.fromkeys(("zamba", "zamba2"), 1e-3),
}
LENS_NATS = 4e-3  # of a layer's: earlier layers predict worse, so their sums are larger


def random_texts(vocabulary: int = 97) -> list[np.ndarray]:
    """Ids of texts of many lengths, up to 119 tokens; and 1, 0 and 2 tokens."""
    random = np.random.default_rng(7)
    lengths = [119, 1, 64, 0, 41, 40, 2, 90, 13, 119]
    return [random.integers(0, vocabulary, n).astype(np.int32) for n in lengths]


def tables() -> dict[str, dict[str, Any]]:
    """The config of every case in support/cases/."""
    found = {}
    for module in pkgutil.iter_modules(cases.__path__):
        table = importlib.import_module(f"support.cases.{module.name}")
        for name, case in table.CASES.items():
            found[name] = case if isinstance(case, dict) else case.config
    return found


@functools.cache
def lens_cases() -> dict[str, str]:
    """For each model type its first case, as JSON: where every layer is compared too."""
    first: dict[str, str] = {}
    for config in tables().values():
        first.setdefault(config["model_type"], json.dumps(config, sort_keys=True))
    return first


def first_of_its_type(config: dict[str, Any]) -> bool:
    return json.dumps(config, sort_keys=True) in lens_cases().values()


def check_parity(
    config: dict[str, Any],
    folder: Path,
    *,
    texts: Sequence[np.ndarray] | None = None,
    logits_bound: float | None = None,
    nats_bound: float = NATS,
    before_each: Callable[[Any], None] = lambda reference: None,
    lens: bool = False,
) -> float:
    """Compares a random model of `config`: all logits of the first text, each text's score.

    The first case of each model type is compared at every layer too, through the logit lens.

    Args:
      config: config.json with model_type and a vocabulary of at least 97.
      folder: where the model is saved and read from.
      texts: ids; by default `random_texts`.
      logits_bound, nats_bound: largest differences allowed; of logits by default that of the type.
      before_each: called with the reference before each text, to reset state that it keeps.
      lens: whether every layer is compared although another case is its type's first.

    Returns the largest difference of logits.
    """
    return compare(
        make_model(config, folder),
        folder,
        lens=lens or first_of_its_type(config),
        texts=texts,
        logits_bound=logits_bound or LOGITS_OF.get(config["model_type"], LOGITS),
        nats_bound=nats_bound,
        before_each=before_each,
    )


def compare(
    reference: Any,
    folder: Path,
    *,
    texts: Sequence[np.ndarray] | None = None,
    logits_bound: float = LOGITS,
    nats_bound: float = NATS,
    before_each: Callable[[Any], None] = lambda reference: None,
    lens: bool = False,
) -> float:
    """`check_parity` against any reference that has the weights and config.json of `folder`."""
    texts = random_texts() if texts is None else texts
    model = weights.load(folder, dtype="float32")
    decoder = nnx.merge(model.graph, model.params)
    ours_TV = np.asarray(jax.jit(lambda ids: decoder.logits(ids))(texts[0][None]))[0]
    before_each(reference)
    theirs_TV = logits(reference, texts[0])
    record(model, reference, logits=float(np.abs(ours_TV - theirs_TV).max()))
    assert np.ptp(theirs_TV, axis=-1).max() > 0.5, "a reference that says nothing proves nothing"
    np.testing.assert_allclose(ours_TV, theirs_TV, rtol=0, atol=logits_bound)

    if lens:
        bound = max(nats_bound, LENS_NATS)
        scores_N = check_lens(reference, model, texts, bound=bound, before_each=before_each)[-1]
    else:
        scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)
    theirs_N = []
    for ids in texts:
        before_each(reference)
        theirs_N.append(text_logp(reference, ids))
    record(model, reference, text=float(np.abs(scores_N - theirs_N).max()))
    np.testing.assert_allclose(scores_N, theirs_N, rtol=0, atol=nats_bound)
    return float(np.abs(ours_TV - theirs_TV).max())


def lens_rows(*arguments: Any, **options: Any) -> np.ndarray:
    """Log-likelihoods of every layer, [L + 1, N]; arguments and options of `score_rows`."""
    return score_rows(*arguments, **options)["log_likelihood"]


def check_lens(
    reference: Any,
    model: weights.Model,
    texts: Sequence[np.ndarray],
    *,
    bound: float = LENS_NATS,
    before_each: Callable[[Any], None] = lambda reference: None,
) -> np.ndarray:
    """Compares every layer's score of each text; returns ours, float64 [L + 1, N]."""
    scorer = Scorers().of(model)
    ll_RN = lens_rows(scorer, model, make_tokens(texts), lens=True, batch_tokens=512)
    theirs_NR = []
    for ids in texts:
        before_each(reference)
        # A text of one token or none has nothing to score.
        theirs_NR.append(lens_logp(reference, ids) if len(ids) > 1 else np.zeros(len(ll_RN)))
    record(model, reference, lens=float(np.abs(ll_RN - np.transpose(theirs_NR)).max()))
    np.testing.assert_allclose(ll_RN, np.transpose(theirs_NR), rtol=0, atol=bound)
    # Layers differ by far more than the bound in some text, or one could pass for another.
    assert np.abs(np.diff(ll_RN, axis=0)).max(axis=1).min() > 20 * bound
    return ll_RN
