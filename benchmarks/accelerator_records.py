"""The records of benchmarks/accelerator.py, and the table that docs/accelerators.md shows of them.

python benchmarks/accelerator_records.py    # writes the table anew
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDS = HERE / "results" / "accelerator.jsonl"
PAGE = HERE.parent / "docs" / "accelerators.md"
BEGIN = "<!-- the table of benchmarks/accelerator_records.py -->"
END = "<!-- its end -->"


def recorded(path: Path, record: dict[str, Any], settings: Collection[str]) -> None:
    """Writes a record to a file, in place of those that have the same settings."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    others = [line for line in lines if any(json.loads(line).get(s) != record[s] for s in settings)]
    path.write_text("\n".join([*others, json.dumps(record), ""]), "utf-8")


def read(path: Path = RECORDS) -> list[dict[str, Any]]:
    """All records of a file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def table(records: Iterable[dict[str, Any]]) -> str:
    """A row for each device, shape and arithmetic, the plain code beside the kernels."""
    rows: dict[tuple[str, str, str, str], dict[str, dict[str, Any]]] = {}
    for record in records:
        rows.setdefault(_row(record), {})[record["program"]] = record
    lines = [
        "| device | shape | arithmetic | | plain code | | GiB | with kernels | | GiB | date |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in sorted(rows, key=lambda row: _order(rows[row])):
        plain, kernels = (rows[row].get(program) for program in ("plain", "kernels"))
        dates = (one["date"] for one in (plain, kernels) if one)
        cells = [*row, *_cells(plain), *_cells(kernels), min(dates)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _row(record: dict[str, Any]) -> tuple[str, str, str, str]:
    notes = [
        "" if record["shape"].startswith("pythia") else f"{record['layers']} layers",
        "lens" if record["lens"] else "",
        "" if record["mesh"] == "data=1" else record["mesh"],
        "" if record["statistics"] == "log_likelihood" else record["statistics"],
        f"beside {record['reference'].removeprefix('pythia-')}" if record.get("reference") else "",
        "measured" if record["how"] == "measured" else "",
    ]
    shape = record["shape"].removeprefix("pythia-")
    return record["device"], shape, record["dtype"], ", ".join(filter(None, notes))


def _order(programs: dict[str, dict[str, Any]]) -> tuple:
    one = next(iter(programs.values()))
    device = ["v5e", "v5p", "v6e"].index(one["device"]) if one["device"][0] == "v" else 3
    return (
        *(device, one["device"], not one["shape"].startswith("pythia")),
        *(one["dtype"] in ("bfloat16_3x", "float32"), one["dtype"]),
        *(one["lens"], one["mesh"], one["products_seconds"]),
    )


def _cells(record: dict[str, Any] | None) -> tuple[str, str, str]:
    if record is None:
        return "", "", ""
    share, seconds = record["share"], record["seconds"]
    return f"{share:.1%}", f"{1e3 * seconds:,.0f} ms", f"{record['temporaries_gib']:.2f}"


def with_table(page: str, records: Iterable[dict[str, Any]]) -> str:
    """The text of a page with this table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table(records)}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text("utf-8"), read()), "utf-8")
