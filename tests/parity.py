"""The one comparison with Hugging Face PyTorch that every family passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from reference import logits, make_model, text_logp
from tokenised import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.score.scorer import Scorers, score_tokens

# float32. PyTorch's own float32 text scores are up to 1.3e-3 nats off float64.
LOGITS, NATS = 1e-4, 2e-3


def random_texts(vocabulary: int = 97) -> list[np.ndarray]:
    """Ids of texts of many lengths, up to 119 tokens; and 1, 0 and 2 tokens."""
    random = np.random.default_rng(7)
    lengths = [119, 1, 64, 0, 41, 40, 2, 90, 13, 119]
    return [random.integers(0, vocabulary, n).astype(np.int32) for n in lengths]


def check_parity(
    config: dict[str, Any],
    folder: Path,
    *,
    texts: Sequence[np.ndarray] | None = None,
    logits_bound: float = LOGITS,
    nats_bound: float = NATS,
    before_each: Callable[[Any], None] = lambda reference: None,
) -> float:
    """Compares a random model of `config`: all logits of the first text, each text's score.

    Args:
      config: config.json with model_type and a vocabulary of at least 97.
      folder: where the model is saved and read from.
      texts: ids; by default `random_texts`.
      logits_bound, nats_bound: largest differences allowed.
      before_each: called with the reference before each text, to reset state that it keeps.

    Returns the largest difference of logits.
    """
    return compare(
        make_model(config, folder),
        folder,
        texts=texts,
        logits_bound=logits_bound,
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
) -> float:
    """`check_parity` against any reference that has the weights and config.json of `folder`."""
    texts = random_texts() if texts is None else texts
    model = weights.load(folder, dtype="float32")
    decoder = nnx.merge(model.graph, model.params)
    ours_TV = np.asarray(jax.jit(lambda ids: decoder.logits(ids))(texts[0][None]))[0]
    before_each(reference)
    theirs_TV = logits(reference, texts[0])
    assert np.ptp(theirs_TV, axis=-1).max() > 0.5, "a reference that says nothing proves nothing"
    np.testing.assert_allclose(ours_TV, theirs_TV, rtol=0, atol=logits_bound)

    scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)
    theirs_N = []
    for ids in texts:
        before_each(reference)
        theirs_N.append(text_logp(reference, ids))
    np.testing.assert_allclose(scores_N, theirs_N, rtol=0, atol=nats_bound)
    return float(np.abs(ours_TV - theirs_TV).max())
