"""How the distance between checkpoints grows with training: exponents, and figure 5."""

from __future__ import annotations

import numpy as np

from jaxmap.analysis.diffusion import Diffusion
from jaxmap.figures import diffusion as figure
from jaxmap.figures.captions import scores_are
from jaxmap.figures.digits import fixed
from jaxmap.reports.section import Picture, Section, csv_link, table
from jaxmap.reports.view import View

SPACES = {"log_likelihood": "log-likelihoods", "weight": "weights"}


def section(view: View) -> Section | None:
    """Exponents by run and figure 5; None where no run is long enough or moves at all."""
    found = view.diffusion
    if isinstance(found, str):
        return None
    rows, units = [], f"{found.exponents[0].trajectory.unit}s"
    for one in found.exponents:
        exponent = one.exponent[np.isfinite(one.exponent)]
        errors = one.errors[np.isfinite(one.errors)]
        fits = one.r2[np.isfinite(one.r2)]  # none where every distance is the same
        if len(exponent):
            q25, median, q75 = np.quantile(exponent, (0.25, 0.5, 0.75))
            rows.append(
                (
                    one.trajectory.run,
                    SPACES[one.trajectory.space],
                    fixed(median, 2),
                    f"{fixed(q25, 2)} to {fixed(q75, 2)}",
                    fixed(float(np.median(errors)), 2) if len(errors) else "–",
                    f"{np.median(fits):.2f}" if len(fits) else "–",
                    f"{len(exponent)}",
                )
            )
    if not rows:
        return None
    html = (
        f"<p>How the distance from a checkpoint grows with the number of {units} "
        f"over the {found.window} checkpoints after it: distance ∝ lag<sup>c</sup>. c = 1 is "
        "Brownian motion, less is slower (subdiffusive), more is faster. Medians "
        "over starts; ± is one standard error of the exponent at a start, over texts or, of "
        "weights, by the fit. "
        + scores_are(found.recipe, found.group, True)
        + "</p>"
        + table(
            ("run", "space", "exponent c", "quartiles", "± at a start", "R²", "starts"),
            rows,
            2,
            download=_file(found),
        )
    )
    caption = (
        f"Left: distance from one checkpoint against the {units} since, both axes logarithmic; the "
        "dotted guide is c = 1. Right: the exponent c at each start; bands are one standard error, "
        "of log-likelihoods over texts, of weights by the scatter around the fitted line. Above: "
        "log-likelihoods (KL); below: weights, where they were compared. "
        + scores_are(found.recipe, found.group, True)
    )
    drawn = figure.draw(found)
    pictures = [Picture("diffusion", "Diffusion along training", drawn, caption)] if drawn else []
    return Section("Diffusion", html, tuple(pictures))


def _file(found: Diffusion) -> str:
    frame = found.to_dataframe()
    rows = list(frame.itertuples(index=False, name=None))
    return csv_link("diffusion", list(frame.columns), rows)
