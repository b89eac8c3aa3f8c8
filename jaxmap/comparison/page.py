"""compare.html: one self-contained page about a comparison, with texts token by token."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.comparison.details import ALL
from jaxmap.comparison.summary import percent, rounded
from jaxmap.reports.page import page_of
from jaxmap.reports.section import table

if TYPE_CHECKING:
    from jaxmap.comparison.table import Compared, Comparison
    from jaxmap.comparison.views import TextView, TokenView

_STYLE = """<style>
.text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; padding: .8rem 1rem;
  border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0 1.5rem;
  font: .92rem/1.9 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.text .before { color: var(--faint); }
.token { background: rgb(213 94 0 / calc(var(--k) * .65)); border-radius: .2rem; padding: .12rem 0;
  cursor: default; }
.token:hover, .token:focus, .token.chosen { outline: 2px solid var(--blue); }
.token i { color: var(--faint); font-style: normal; }
.scale { display: flex; gap: .6rem; align-items: center; color: var(--soft); font-size: .92rem; }
.scale span { padding: .1rem .5rem; border-radius: .2rem;
  background: rgb(213 94 0 / calc(var(--k) * .65)); color: var(--ink); }
h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
#tip { position: fixed; z-index: 10; max-width: min(26rem, 94vw); background: var(--card);
  border: 1px solid var(--faint); border-radius: .4rem; padding: .5rem .7rem; font-size: .85rem;
  pointer-events: none; box-shadow: 0 2px 12px rgb(0 0 0 / .25); }
#tip[hidden] { display: none; }
#tip .two { display: grid; grid-template-columns: 1fr 1fr; gap: .2rem .9rem; margin-top: .3rem; }
#tip code { white-space: pre-wrap; }
#tip .row { display: flex; align-items: baseline; justify-content: space-between; gap: .5rem; }
#tip .same { color: var(--blue); font-weight: 600; }
#tip small { color: var(--soft); }
</style>"""

_SCRIPT = r"""<script>
"use strict";
const { names, views } = JSON.parse(document.getElementById("views").textContent);
const tip = document.getElementById("tip");
const shown = s => s.replace(/\n/g, "\u23ce").replace(/\t/g, "\u21e5").replace(/ /g, "\u00a0") ||
  "\u2205";
const add = (parent, tag, text, kind) => {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (kind) one.className = kind;
  parent.append(one);
  return one;
};
const percent = p => (100 * p).toPrecision(3) + " %";
let chosen = null;
function tell(token) {
  if (chosen) chosen.classList.remove("chosen");
  chosen = token;
  tip.hidden = !token;
  if (!token) return;
  token.classList.add("chosen");
  const [m, x, i] = token.dataset.at.split(" ").map(Number);
  const [text, kl, logp, theirs, own, reference] = views[m][x][i];
  tip.replaceChildren();
  const head = add(tip, "div");
  add(head, "code", shown(text));
  add(head, "span", "  " + names[m] + " " + kl.toPrecision(3) + " nats");
  add(tip, "small", "probability: " + percent(Math.exp(theirs)) + " in the reference, " +
    percent(Math.exp(logp)) + " in the model");
  if (own.length || reference.length) likeliest(own, reference);
  const at = token.getClientRects()[0], box = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left), innerWidth - box.width - 8);
  const below = at.bottom + 6 + box.height < innerHeight;
  tip.style.left = left + "px";
  tip.style.top = (below ? at.bottom + 6 : Math.max(4, at.top - box.height - 6)) + "px";
}
function likeliest(own, reference) {
  const two = add(tip, "div", undefined, "two");
  const known = reference.map(([t]) => t), also = own.map(([t]) => t);
  for (const [name, list, other] of
       [["reference", reference, also], ["model", own, known]]) {
    const side = add(two, "div");
    add(side, "small", name + " expects");
    for (const [t, p] of list) {
      const row = add(side, "div", undefined, "row");
      add(row, "code", shown(t), other.includes(t) ? "same" : "");
      add(row, "span", percent(p));
    }
  }
}
document.addEventListener("pointerover", e => {
  const token = e.target.closest(".token");
  if (token || e.pointerType === "mouse") tell(token);
});
document.addEventListener("click", e => tell(e.target.closest(".token")));
document.addEventListener("focusin", e => tell(e.target.closest(".token")));
document.addEventListener("keydown", e => { if (e.key === "Escape") tell(null); });
addEventListener("scroll", () => tell(null), { passive: true });
const select = document.getElementById("model");
if (select) {
  select.closest(".controls").hidden = false;
  const show = () => {
    tell(null);
    for (const one of document.querySelectorAll("[data-model]"))
      one.hidden = one.dataset.model !== select.value;
  };
  select.addEventListener("change", show);
  show();
}
</script>"""


def page_about(found: Comparison) -> str:
    """The page; it loads nothing. Texts are shown for each model that was looked into."""
    first = found.found[0]
    shown = [one for one in found.compared if one.views]
    title = f"Beside {_short(found.reference)}, token by token"
    body = [
        _STYLE,
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">The reference is {escape(found.reference)}: {first.texts:,} texts, '
        f"{first.tokens:,} tokens; text set "
        f"<code>{escape(found.texts_fingerprint[:16])}</code></p>",
        "<h2>Models</h2>",
        models_table(found),
        *_parts(found),
        "<h2>Texts that differ most, and one in the middle</h2>",
        '<p class="note">A token is darker the more the two predictions of it differ. Point at '
        "one, or tap it, to see what both models expected there.</p>",
        *_of_other_tokens(shown),
        _choice(shown),
        *_texts(shown),
        '<div id="tip" role="status" hidden></div>',
        f"<p class=note><code>{escape(found.command)}</code></p>" if found.command else "",
    ]
    data = {
        "names": [_measure(one) for one in shown],
        "views": [[[_packed(token) for token in v.tokens] for v in one.views] for one in shown],
    }
    packed = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    script = f'<script id="views" type="application/json">{packed}</script>{_SCRIPT}'
    return page_of(title, body, script)


def models_table(found: Comparison) -> str:
    """A row a model: both KLs with their errors, the change in bits per byte, the floor."""
    heads = ["model", "format", "bits per weight", "token KL, nats", "99 %", "same top token",
             "Δ bits per byte", "KL, bits per byte", "floor of token KL"]  # fmt: skip
    rows = []
    for one in found.compared:
        row = one.row
        floor = "-" if one.floor is None else rounded(*one.floor.token_kl)
        rows.append([
            _short(row.model), row.format, f"{row.bits_per_weight:.3g}",
            rounded(row.token_kl_nats, row.token_kl_standard_error), rounded(row.token_kl_p99),
            percent(row.same_top_token), f"{row.delta_bits_per_byte:+.3g}",
            rounded(row.kl_bits_per_byte, row.kl_standard_error), floor,
        ])  # fmt: skip
    return table(heads, rows, numbers_from=2)


def _parts(found: Comparison) -> Iterator[str]:
    """Parts of the tokens: a row a part, a column a model."""
    subsets = list(dict.fromkeys(d.subset for one in found.compared for d in one.details))
    groups = {
        "By field of the texts": [s for s in subsets if _group(s) == "field"],
        "By kind of token": [s for s in subsets if _group(s) == "token"],
        "By the reference's highest probability": [s for s in subsets if _group(s) == "confidence"],
    }
    for title, names in groups.items():
        tables = [
            _parts_table(
                names, [one for one in found.compared if bool(one.other_tokens) == aligned], *of
            )
            for aligned, of in (
                (False, ("token_kl", "token KL, nats")),
                (True, ("delta_bits_per_byte", "\u0394 bits per byte")),
            )
        ]
        if any(tables):
            yield f"<h2>{escape(title)}</h2>{''.join(tables)}"


def _parts_table(names: list[str], compared: list[Compared], statistic: str, head: str) -> str:
    of = [{d.subset: d for d in one.details if d.statistic == statistic} for one in compared]
    rows = []
    for name in names:
        cells = [known.get(name) for known in of]
        there = [(c, one) for c, one in zip(cells, compared, strict=True) if c is not None]
        if not there:
            continue
        share = f"{there[0][0].tokens / there[0][1].row.tokens:.1%}"
        said = ["-" if c is None else rounded(c.value, c.standard_error) for c in cells]
        rows.append([name.removeprefix("token: ").removeprefix("confidence "), share, *said])
    if not rows:
        return ""
    return table([head, "of tokens", *(_short(one.row.model) for one in compared)], rows)


def _group(subset: str) -> str:
    if subset == ALL:
        return ""
    first = subset.split(" ", 1)[0]
    return {"token:": "token", "confidence": "confidence"}.get(first, "field")


def _measure(one: Compared) -> str:
    """What a token's colour says of a model."""
    return "difference" if one.other_tokens else "KL"


def _of_other_tokens(shown: list[Compared]) -> Iterator[str]:
    for one in shown:
        if one.other_tokens:
            yield (
                f'<p class="note">{escape(_short(one.row.model))} {escape(one.other_tokens)}. Its '
                "texts are cut where tokens of both models end, and darker the more the "
                "log-probabilities of a stretch differ.</p>"
            )


def _scale(one: Compared) -> float:
    """What has the darkest colour, nats: few tokens of the model's are above it."""
    kl = [abs(token.kl) for view in one.views for token in view.tokens]
    return float(np.quantile(kl, 0.98)) if kl and max(kl) > 0 else 1.0


def _shade(kl: float, scale: float) -> str:
    return f"{min(1.0, math.sqrt(abs(kl) / scale)):.2f}" if scale > 0 else "0"


def _legend(scale: float, measure: str) -> str:
    steps = (0.0, 0.1, 0.4, 1.0)
    cells = "".join(
        f'<span style="--k:{_shade(step * scale, scale)}">{step * scale:.2g}</span>'
        for step in steps
    )
    return f'<p class="scale">{measure}, nats: {cells}</p>'


def _choice(shown: list[Compared]) -> str:
    if len(shown) < 2:
        return ""
    options = "".join(
        f'<option value="{m}">{escape(_short(one.row.model))}</option>'
        for m, one in enumerate(shown)
    )
    return (
        '<div class="controls" hidden><label>Model <select id="model">'
        f"{options}</select></label></div>"
    )


def _texts(shown: list[Compared]) -> Iterator[str]:
    for m, one in enumerate(shown):
        scale = _scale(one)
        yield f'<section data-model="{m}">'
        if len(shown) > 1:
            yield f"<h3>{escape(one.row.model)}</h3>"
        yield _legend(scale, _measure(one))
        for x, view in enumerate(one.views):
            yield _text(view, m, x, scale, aligned=bool(one.other_tokens))
        yield "</section>"


def _text(view: TextView, m: int, x: int, scale: float, *, aligned: bool) -> str:
    total = sum(token.kl for token in view.tokens)
    mean = total / max(1, len(view.tokens))
    tokens = "".join(
        f'<span class="token" data-at="{m} {x} {i}" style="--k:{_shade(token.kl, scale)}">'
        f"{_said(token.text)}</span>"
        for i, token in enumerate(view.tokens)
    )
    before = f'<span class="before">{escape(view.before)}</span>' if view.before else ""
    if aligned:
        said = f"{total:.3g} nats less likely, {len(view.tokens)} stretches"
    else:
        said = f"token KL {mean:.3g} nats, {len(view.tokens)} tokens"
    title = f"Text {view.text}: {said}"
    return f'<h3>{title}</h3><div class="text">{before}{tokens}</div>'


def _said(text: str) -> str:
    """Line ends are seen, and tokens that are a part of a character."""
    if not text:
        return "<i>·</i>"
    return escape(text).replace("\n", "<i>⏎</i>\n")


def _packed(token: TokenView) -> list[Any]:
    def few(pairs: tuple[tuple[str, float], ...]) -> list[list[Any]]:
        return [[text, float(f"{p:.4g}")] for text, p in pairs]

    numbers = (float(f"{x:.5g}") for x in (token.kl, token.logp, token.reference_logp))
    return [token.text, *numbers, few(token.likeliest), few(token.reference_likeliest)]


def _short(model: str) -> str:
    return model.rsplit("/", 1)[-1]
