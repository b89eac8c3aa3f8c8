"""The style and the script of texts that are coloured token by token, for any page."""

from __future__ import annotations

STYLE = """<style>
.coloured .text { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9;
  padding: .8rem 1rem;
  border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0 1.5rem;
  font: .92rem/1.9 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.coloured .text .before { color: var(--faint); }
.coloured .token { background: rgb(213 94 0 / calc(var(--k) * .65)); border-radius: .2rem;
  padding: .12rem 0; cursor: default; }
.coloured .token:hover, .coloured .token.chosen { outline: 2px solid var(--blue); }
.coloured .token i { color: var(--faint); font-style: normal; }
.coloured .scale { display: flex; gap: .6rem; align-items: center; color: var(--soft);
  font-size: .92rem; }
.coloured .scale span { padding: .1rem .5rem; border-radius: .2rem;
  background: rgb(213 94 0 / calc(var(--k) * .65)); color: var(--ink); }
.coloured h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; overflow-wrap: anywhere; }
#token-tip { position: fixed; z-index: 10; max-width: min(26rem, 94vw); background: var(--card);
  border: 1px solid var(--faint); border-radius: .4rem; padding: .5rem .7rem; font-size: .85rem;
  pointer-events: none; box-shadow: 0 2px 12px rgb(0 0 0 / .25); }
#token-tip[hidden] { display: none; }
#token-tip .two { display: grid; grid-template-columns: 1fr 1fr; gap: .2rem .9rem;
  margin-top: .3rem; }
#token-tip code { white-space: pre-wrap; }
#token-tip .row { display: flex; align-items: baseline; justify-content: space-between;
  gap: .5rem; }
#token-tip .same { color: var(--blue); font-weight: 600; }
#token-tip small { color: var(--soft); }
@media print { #token-tip { display: none; }
  .coloured .token, .coloured .scale span { print-color-adjust: exact;
    -webkit-print-color-adjust: exact; } }
</style>"""

# A block of texts has the class "coloured", and in it the data of its tokens as JSON.
SCRIPT = r"""<script>
"use strict";
{
const add = (parent, tag, text, kind) => {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (kind) one.className = kind;
  parent.append(one);
  return one;
};
const tip = add(document.body, "div");
tip.id = "token-tip";
tip.hidden = true;
tip.setAttribute("role", "status");
const shown = s => s.replace(/\n/g, "\u23ce").replace(/\t/g, "\u21e5").replace(/ /g, "\u00a0") ||
  "\u2205";
const percent = p => (100 * p).toPrecision(3) + " %";
const data = new Map();
let chosen = null;
for (const block of document.querySelectorAll(".coloured")) {
  data.set(block, JSON.parse(block.querySelector("script").textContent));
  const select = block.querySelector("select");
  if (!select) continue;
  select.closest(".controls").hidden = false;
  const choose = () => {
    explain(null);
    for (const one of block.querySelectorAll("[data-model]"))
      one.hidden = one.dataset.model !== select.value;
  };
  select.addEventListener("change", choose);
  choose();
}
function explain(token) {
  if (chosen) chosen.classList.remove("chosen");
  chosen = token;
  tip.hidden = !token;
  if (!token) return;
  token.classList.add("chosen");
  const { names, views } = data.get(token.closest(".coloured"));
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
const tokenOf = e => e.target instanceof Element ? e.target.closest(".token") : null;
document.addEventListener("pointerover", e => {
  if (tokenOf(e) || e.pointerType === "mouse") explain(tokenOf(e));
});
document.addEventListener("click", e => explain(tokenOf(e)));
document.addEventListener("keydown", e => { if (e.key === "Escape") explain(null); });
addEventListener("scroll", () => explain(null), { passive: true });
}
</script>"""
