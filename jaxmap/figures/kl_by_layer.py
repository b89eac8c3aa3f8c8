"""How far each layer of a model is from a reference: KL by layer, through a lens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, style
from jaxmap.figures.figure import new_figure
from jaxmap.figures.lines import draw_line, run_legend, run_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.comparison.table import Compared, Comparison


def draw(found: Comparison, width: float = 7.2) -> Figure | None:
    """Draws the token KL (left) and the KL over texts (right) of each layer from the reference.

    A line joins the layers of a model, from the embedding (0) to its own output; bands are one
    standard error. Values of 0, as of a model beside itself, are left out of the logarithmic axis.
    Returns None if no layer was compared.

    Args:
      found: the comparison.
      width: of the figure, in inches.
    """
    lines = layers_of(found)
    if not lines:
        return None
    styles = run_styles(lines)
    with style.look():
        figure = new_figure(width, 3.6)
        panels = figure.subplots(1, 2, sharex=True)
        for axes, (value, error, label) in zip(panels, _PANELS, strict=True):
            for name, rows in lines.items():
                look = styles[name]
                layer_P = np.array([layer for layer, _ in rows])
                value_P = np.array([getattr(one.row, value) for _, one in rows])
                error_P = np.nan_to_num([getattr(one.row, error) for _, one in rows])
                draw_line(
                    axes, layer_P, value_P, look, error_I=error_P, label=name, logarithmic=True
                )
            axes.set_xlabel("layer (0: embedding)")
            axes.set_ylabel(label)
            axes.xaxis.get_major_locator().set_params(integer=True)
            style.plain_log_axis(axes)
        run_legend(figure, styles)
        captions.write_above(figure, captions.RAW)
    return figure


_PANELS = (
    ("token_kl_nats", "token_kl_standard_error", "token KL from the reference (nats)"),
    ("kl_bits_per_byte", "kl_standard_error", "KL over texts (bits per byte)"),
)


def layers_of(found: Comparison) -> dict[str, list[tuple[int, Compared]]]:
    """The layers of each model in their order, its own output last, by the end of its name."""
    lines: dict[str, list[tuple[int, Compared]]] = {}
    outputs = {one.row.model: one for one in found.compared if one.layer is None}
    for one in found.compared:
        if one.layer is not None:
            name = one.row.model.rpartition("#")[0]
            lines.setdefault(name, []).append((one.layer, one))
    for name, rows in lines.items():
        rows.sort(key=lambda row: row[0])
        output = outputs.get(name.removesuffix("+tuned"))
        if output is not None:
            rows.append((rows[-1][0] + 1, output))
    short = [name.rsplit("/", 1)[-1] for name in lines]
    names = short if len(set(short)) == len(short) else list(lines)
    return dict(zip(names, lines.values(), strict=True))
