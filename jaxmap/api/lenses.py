"""Tuned lenses: train_lens."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import Models, Names, Path, Texts, models_of, names_of, texts_of
from jaxmap.output_paths import check_folder

if TYPE_CHECKING:
    from jaxmap.lens.run import Lenses


def train_lens(
    models: Models | None,
    texts: Texts,
    out: Path,
    *,
    models_file: Path | None = None,
    steps: int = 250,
    learning_rate: float = 1e-3,
    batch_tokens: int = 4096,
    seed: int = 0,
    held_out: float = 0.1,
    dtype: str = "auto",
    save_every: float = 60.0,
    ignore_config_keys: Names = (),
) -> Lenses:
    """Trains a tuned lens for each model: one affine map per layer.

    It brings what the layer predicts to what the model predicts (Belrose et al. 2023,
    arXiv:2303.08112), and is measured beside the logit lens on held-out texts. What `out` holds
    already is not trained again, and an interrupted training resumes. A model that fails does not
    stop the others and does not raise: it is in `failures` of the result.

    Args:
      models, models_file: references, as of `score`.
      texts: as of `score`. Use other texts than those that you will score; otherwise the lens has
        seen the answers.
      out: the folder of lenses, which `score` takes as lens="tuned:FOLDER". Each model has a
        folder in it: lens.json says what it is and what it is worth, translators.safetensors holds
        weight [L, D, D] and bias [L, D] of h + weight h + bias.
      steps: updates.
      learning_rate: AdamW's at its peak, after a tenth of the steps; it falls to 0.
      batch_tokens: tokens per batch.
      seed: of the held-out split and the order of training texts.
      held_out: the share of the texts that is kept from training.
      dtype: the arithmetic of the model, as of `score`; lenses are float32.
      save_every: seconds between two saves of the state that a killed training resumes from; 0:
        every step.
      ignore_config_keys: as of `score`.

    Raises InputError for a parameter or texts that cannot be used, and where `out` holds a lens of
    another training.
    """
    check_folder(out)
    refs, text_set = models_of(models, models_file), texts_of(texts)
    from jaxmap import runtime

    runtime.prepare()
    runtime.check_platform()
    from jaxmap.lens.run import train_lenses
    from jaxmap.lens.trainer import Training

    training = Training(
        steps=steps,
        learning_rate=learning_rate,
        batch_tokens=batch_tokens,
        seed=seed,
        held_out=held_out,
    )
    return train_lenses(
        refs,
        text_set,
        FilePath(os.fspath(out)),
        training,
        dtype=dtype,
        ignore_config_keys=names_of(ignore_config_keys),
        save_every=save_every,
    )
