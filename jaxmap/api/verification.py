"""Scores of this engine compared with PyTorch's: verify."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import Models, Names, Path, Texts, models_of, names_of, texts_of
from jaxmap.errors import InputError
from jaxmap.output_paths import check_file

if TYPE_CHECKING:
    from jaxmap.verification.verify import Verification


def verify(
    models: Models | None,
    texts: Texts,
    *,
    models_file: Path | None = None,
    n: int = 20,
    double: int = 3,
    lens: bool = True,
    out: Path | None = None,
    ignore_config_keys: Names = (),
) -> Verification:
    """Compares this engine's float32 scores with PyTorch's, on this machine, at every layer.

    It is what to run before trusting a new model, and what a bug report should contain. A text's
    score may differ by 2e-3 nats plus 2e-5 of the score, which is what rounding amounts to in
    float32, and a layer's by twice that. A model that cannot be loaded by either side does not
    stop the others: it is in `failures` of the result.

    Args:
      models, models_file: references, as of `score`.
      texts: as of `score`.
      n: how many of them are scored, evenly spaced.
      double: how many of these are scored by PyTorch in float64 too, so that one sees which side
        is nearer to it; 0: none.
      lens: whether to compare every layer through the logit lens.
      out: a .csv with one row per text and layer; None: not written.
      ignore_config_keys: as of `score`.

    Raises InputError for a parameter or texts that cannot be used. Needs PyTorch.
    """
    for field, value, least in (("n", n, 1), ("double", double, 0)):
        if value < least:
            raise InputError(f"{value} is too few; at least {least}", field=field)
    if out is not None:
        check_file(out, ".csv")
    refs, text_set = models_of(models, models_file), texts_of(texts)
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.tables import write_csv
    from jaxmap.verification.verify import verify_models

    found = verify_models(
        refs,
        text_set,
        n=n,
        double=double,
        lens=lens,
        ignore_config_keys=names_of(ignore_config_keys),
    )
    if out is not None:
        write_csv(FilePath(out), found.columns, found.rows())
    return found
