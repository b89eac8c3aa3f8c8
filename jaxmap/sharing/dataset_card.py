"""The card of a shared store: its contents, with a map and a table, between two marks.

What its owners write outside of the marks stays as it is.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

from jaxmap.analysis.context import Context
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.maps import Atlas, Map
from jaxmap.errors import JaxmapError
from jaxmap.figures import maps, style
from jaxmap.figures.digits import with_error
from jaxmap.stats.bits_per_byte import bits_per_byte
from jaxmap.stats.divergence import kl_KK, nearest_others
from jaxmap.store import Entry, Store
from jaxmap.store.statistics import LOG_LIKELIHOOD

CARD, PICTURE = "README.md", "map.png"
BEGIN, END = "<!-- made by jaxmap push -->", "<!-- end of what jaxmap push made -->"
_MOST_ROWS = 200
_PREFERRED = ("models", "trajectories", "families", "8-bit", "4-bit", "layers")


def make_card(store: Store, repo: str, before: str = "") -> dict[str, bytes]:
    """The files of the card by name: README.md, and map.png where there are enough models.

    `before` is the README that stands there now.
    """
    picture, about = _picture(store)
    text = "\n".join([*_head(store, repo), *about, "", *_table(store), "", *_use(store, repo)])
    files = {CARD: _merged(before, text, repo).encode()}
    return files if picture is None else {**files, PICTURE: picture}


def _merged(before: str, text: str, repo: str) -> str:
    """The card with the text between the marks, which come last where there are none."""
    made = f"{BEGIN}\n{text}\n{END}"
    start, end = before.find(BEGIN), before.find(END)
    if 0 <= start < end:
        return before[:start] + made + before[end + len(END) :]
    if before.strip():
        return f"{before.rstrip()}\n\n{made}\n"
    name = repo.rpartition("/")[2]
    return (
        f"---\npretty_name: {name}\ntags:\n- jaxmap\n- log-likelihood\n---\n\n# {name}\n\n{made}\n"
    )


def _head(store: Store, repo: str) -> list[str]:
    entries, texts = store.records(), store.texts
    models = {entry.identity.ref for entry in entries}
    checkpoints = {(entry.identity.ref, entry.identity.revision) for entry in entries}
    return [
        f"Log-likelihoods of {len(texts.text_bytes):,} texts under {_count(len(models), 'model')} "
        f"({_count(len(checkpoints), 'checkpoint')}, {_count(len(entries), 'result')}), made with "
        "jaxmap. Each result is a file of its own, a safetensors file that any program can read.",
        "",
        f"The texts are `{texts.source}`, {texts.mean_bytes:.6g} bytes on average, fingerprint "
        f"`{texts.fingerprint}`. They are not here; `store.json` has the bytes of each.",
        "",
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _picture(store: Store) -> tuple[bytes | None, list[str]]:
    """The picture, and the lines about it."""
    try:
        atlas = make_atlas(Context(store, ask=lambda name: ()))
    except JaxmapError as error:
        return None, [f"No map: {error}"]
    shown = next((one for name in _PREFERRED if (one := atlas.find(name))), None)
    if shown is None:
        return None, ["A map takes at least three models."]
    return _drawn(atlas, shown), [
        f"![a map of the models]({PICTURE})",
        "",
        "*Models that predict the texts alike are close together: squared distances between the "
        "vectors of log-likelihoods, of which this is a picture in two dimensions, are KL "
        "divergences.*",
    ]


def _drawn(atlas: Atlas, shown: Map) -> bytes:
    file = io.BytesIO()
    style.write(maps.draw(atlas, shown, shown.clearest_first[0]), file, "png")
    return file.getvalue()


def _table(store: Store) -> list[str]:
    """A row per model: of a model with several checkpoints, the last one's scores."""
    entries = store.records()
    counts = Counter(entry.identity.ref for entry in entries)
    last: dict[str, Entry] = {}
    for entry in entries:  # those of a model in the order of their revisions
        if entry.variant.is_own_output and LOG_LIKELIHOOD in entry.statistics:
            known = last.get(entry.identity.ref)
            if known is None or (entry.name.time or -1) >= (known.name.time or -1):
                last[entry.identity.ref] = entry
    rows = list(last.values())[:_MOST_ROWS]
    if not rows:
        return []
    lines = [
        "| model | results | parameters | bits per byte | nearest | KL, bits per byte |",
        "|:--|--:|--:|--:|:--|--:|",
    ]
    lines += [
        f"| {entry.label} | {counts[entry.identity.ref]:,} | {_parameters(entry)} | {bits} "
        f"| {nearest} | {kl} |"
        for entry, bits, (nearest, kl) in zip(rows, *_numbers(store, rows), strict=True)
    ]
    if (more := len(last) - len(rows)) > 0:
        lines += ["", f"{more:,} more models are not in this table."]
    return lines


def _parameters(entry: Entry) -> str:
    count = entry.provenance.model.get("num_parameters")
    return f"{count:,}" if count else ""


def _numbers(store: Store, rows: Sequence[Entry]) -> tuple[list[str], list[tuple[str, str]]]:
    """Bits per byte of each, and the nearest other with its KL; scores are as they are."""
    ll_KN = store.log_likelihoods(rows)
    bits_K, errors_K = bits_per_byte(ll_KN, store.texts.text_bytes)
    bits = [with_error(*pair) for pair in zip(bits_K, errors_K, strict=True)]
    if len(rows) < 2:
        return bits, [("", "")] * len(rows)
    found = kl_KK(ll_KN, store.texts.mean_bytes)
    nearest = []
    for row, other in enumerate(nearest_others(found.kl)):
        if other < 0:
            nearest.append(("", ""))
            continue
        value, error = found.kl[row, other], found.standard_error[row, other]
        nearest.append((rows[other].label, with_error(value, error)))
    return bits, nearest


def _use(store: Store, repo: str) -> list[str]:
    return [
        "```",
        f"jaxmap pull --store=maps --repo={repo}      # adds what a store lacks",
        "jaxmap report --store=maps --out=report.html",
        "```",
    ]
