"""The style sheet of the page, and its content security policy."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --faint: #8a9099;
  --paper: #ffffff; --card: #f6f8fa; --line: #d1d9e0; --blue: #0072b2;
  --sixth: #56b4e9; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4ae; --faint: #7d858e;
  --paper: #12161b; --card: #1a2028; --line: #333c46; --blue: #4ba6e3;
  --sixth: #f0e442; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h2 a { color: inherit; text-decoration: none; }
h2 a:hover::after, h2 a:focus::after { content: " #"; color: var(--faint); }
a { color: var(--blue); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; margin: 1rem 0 0;
  padding: 0; font-size: .92rem; }
.files { font-size: .85rem; margin: .3rem 0 0; }
p { max-width: 46rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--soft); }
.lead { color: var(--soft); font-size: 1.05rem; margin: 0; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr));
  gap: .75rem; margin: 1.5rem 0; padding: 0; }
dl.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left;
  min-width: 7.5rem; overflow-wrap: anywhere; vertical-align: top; }
th { color: var(--soft); font-weight: 600; overflow-wrap: normal; vertical-align: bottom; }
tbody th { vertical-align: top; }
td.number, th.number { text-align: right; min-width: 0; }
td.number { white-space: nowrap; }
td small { color: var(--soft); }
figure { margin: 1rem 0 0; }
figure svg { width: 100%; height: auto; min-width: 34rem; display: block; }
figcaption, .note { color: var(--soft); font-size: .92rem; max-width: 46rem; margin-top: .5rem; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere; }
.failed { border-left: 3px solid var(--bad); padding-left: 1rem; }
ul.plain { color: var(--soft); font-size: .92rem; padding-left: 1.2rem; max-width: 46rem; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center;
  margin: .75rem 0 .25rem; }
.controls[hidden] { display: none; }
.controls label { display: flex; gap: .4rem; align-items: center; color: var(--soft);
  font-size: .92rem; }
.controls label.grow { flex: 1 1 14rem; }
.controls select, .controls input { font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: .35rem; padding: .25rem .4rem; min-width: 0;
  max-width: 14rem; }
.controls input[type=range] { flex: 1; padding: 0; max-width: none; accent-color: var(--blue); }
.controls output { color: var(--soft); font-variant-numeric: tabular-nums; min-width: 9rem; }
.controls button { font: inherit; color: var(--ink); background: var(--card); min-width: 5.5rem;
  border: 1px solid var(--line); border-radius: .35rem; padding: .25rem .6rem; cursor: pointer; }
.plot { width: 100%; height: min(80vh, 36rem); }
.plot, .plot * { touch-action: pan-x pan-y !important; }
.plot.square { height: min(110vw, 46rem); }
#heat-tip { position: fixed; z-index: 2000; pointer-events: none; max-width: 80vw;
  background: var(--card); border: 1px solid var(--faint); padding: .3rem .5rem; font-size: .85rem;
  overflow-wrap: anywhere; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .92rem; }
.keys i { display: inline-block; width: .75rem; height: .75rem; border-radius: 50%;
  margin-right: .4rem; }
@media print { :root { color-scheme: light; --ink: #1f2328; --soft: #59636e; --faint: #8a9099;
  --paper: #ffffff; --card: #f6f8fa; --line: #d1d9e0; --blue: #0072b2;
  --sixth: #56b4e9; --bad: #b3261e; }
  main { max-width: none; padding: 0; } p, figcaption, .note, ul.plain { max-width: none; }
  nav, .controls, .files, .modebar-container { display: none !important; }
  figure, tr, .plot, dl.facts { break-inside: avoid; } h2 { break-after: avoid; }
  .wide { overflow: visible; } figure svg { min-width: 0; }
  .keys i { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  table { font-size: .72rem; } th, td { min-width: 3rem; } thead { display: table-header-group; } }
"""

# What the page may do: show itself. No address is ever loaded, whatever a script asks for.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
