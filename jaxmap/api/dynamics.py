"""How training runs move: dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxmap.api.arguments import Names, Path, StoreLike, Texts, texts_of
from jaxmap.api.contexts import context_of, saved
from jaxmap.errors import InputError
from jaxmap.output_paths import check_folder
from jaxmap.store.text_facts import order_hint

if TYPE_CHECKING:
    from jaxmap.analysis.context import Context
    from jaxmap.analysis.dynamics import Dynamics


def dynamics(
    store: StoreLike,
    *,
    out: Path | None = None,
    texts: Texts | None = None,
    by: str | None = None,
    warmup_steps: int | None = None,
    start_from: int | None = None,
    window: int | None = None,
    time: str = "auto",
    stages: str = "apart",
    runs_file: Path | None = None,
    leave_out: Names = (),
    recipe: str = "auto",
) -> Dynamics:
    """How runs move: speed, turns and curvature, KL to the last checkpoint and between seeds,
    exponents of both spaces and their difference; each with a standard error.

    `save` writes dynamics.csv and the figures.

    Args:
      store: a store or its folder.
      out: a folder to save the result in.
      texts: the store's texts, where domains are wanted.
      by: the field of the texts that names their domain, such as "source" or "meta.pile_set_name".
        Those of texts without it are "none".
      warmup_steps, start_from, window, time, stages, runs_file, leave_out, recipe: as
        of `diffusion`.

    Raises InputError for a store without runs, or texts that are not its own.
    """
    from jaxmap.analysis.dynamics import measure_dynamics

    if out is not None:
        check_folder(out)
    context = context_of(
        store,
        warmup_steps=warmup_steps,
        time=time,
        stages=stages,
        runs_file=runs_file,
        leave_out=leave_out,
        recipe=recipe,
    )
    domains = _domains(context, texts, by)
    found = measure_dynamics(context, start_from=start_from, window=window, domains=domains)
    return saved(found, out)


def _domains(context: Context, texts: Texts | None, by: str | None) -> list[str] | None:
    if (texts is None) != (by is None):
        raise InputError("and `by`: give both or none", field="texts")
    if texts is None or by is None:
        return None
    text_set = texts_of(texts)
    if text_set.fingerprint != context.store.texts.fingerprint:
        raise InputError(
            "are not the texts that the store was made with"
            + order_hint(context.store.texts, text_set),
            field="texts",
            value=text_set.source,
        )
    return text_set.values(by)
