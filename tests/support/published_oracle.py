"""What the authors' released pipeline gives for a released folder: plain NumPy in float64.

Written from the description of the pipeline, step by step; shares no code with the package.
By hand: python tests/support/published_oracle.py FOLDER
"""

from __future__ import annotations

import json
import math
import pickle
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

SIZES = ("410m", "1b", "1.4b", "2.8b", "6.9b")
OUT_RUNS = ("410m-seed3", "410m-seed4")
OUT_STEPS = (("1b", 116_000),)
STEPS = [0, *(2**i for i in range(10)), *range(1000, 143_001, 1000)]

Pair = tuple[str, str, float]  # two labels and the KL between them


@dataclass
class Group:
    """Runs that were cleaned together."""

    runs: dict[str, dict[int, np.ndarray]]
    floor: float
    raised: int
    dropped: set[int]
    mean_bytes: float
    jump: list[float]


class Oracle:
    """Reads the folder once; each table is a method."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.names = self._json("model_list")
        self.types = self._json("modelname2type")
        self.parents = self._json("sibling_info")
        self.bytes = [len(text.encode("utf-8")) for text in self._json("texts")]
        self.all_bytes = sum(self.bytes) / len(self.bytes)
        self.matrix = np.asarray(self._pickle("oyama2025_logp"), np.float64)
        everything = self._pickle("pretraining_logp")
        seeds = [run for run in sorted(everything) if run.startswith("410m-seed")]
        good = [run for run in seeds if run not in OUT_RUNS]
        self.sizes = self._clean({run: everything[run] for run in SIZES})
        self.seeds = self._clean({run: everything[run] for run in good})
        self.together = self._clean({run: everything[run] for run in (*good, *SIZES)})

    def _path(self, name: str) -> Path:
        (path,) = self.folder.rglob(name)
        return path

    def _json(self, name: str):
        return json.loads(self._path(f"{name}.json").read_text(encoding="utf-8"))

    def _pickle(self, name: str):
        return pickle.loads(self._path(f"{name}.pkl").read_bytes())

    # Cleaning

    def _clean(self, raw) -> Group:
        there = {
            run: {s: np.asarray(v, np.float64) for s, v in sorted(of.items()) if v is not None}
            for run, of in raw.items()
        }
        kept = {
            run: {s: v for s, v in of.items() if (run, s) not in OUT_STEPS}
            for run, of in there.items()
        }
        entries = np.sort(np.concatenate([v for of in kept.values() for v in of.values()]))
        place = 0.02 * (len(entries) - 1)
        below = entries[math.floor(place)]
        above = entries[math.floor(place) + 1]
        floor = below + (above - below) * (place - math.floor(place))
        num_texts = len(self.bytes)
        jump = [-math.inf] * num_texts
        for run, of in there.items():
            for a, b in pairwise(s for s in of if s >= 2000):
                if (run, a) in OUT_STEPS or (run, b) in OUT_STEPS:
                    continue
                far = abs(np.maximum(of[b], floor) - np.maximum(of[a], floor))
                jump = [max(two) for two in zip(jump, far.tolist(), strict=True)]
        count = round(num_texts * 0.03)
        dropped = set(sorted(range(num_texts), key=lambda n: jump[n])[num_texts - count :])
        texts = [n for n in range(num_texts) if n not in dropped]
        return Group(
            {
                run: {s: np.maximum(v, floor)[texts] for s, v in of.items()}
                for run, of in kept.items()
            },
            float(floor),
            int((entries < floor).sum()),
            dropped,
            sum(self.bytes[n] for n in texts) / len(texts),
            jump,
        )

    # Settings

    def scale(self) -> dict[str, list[Pair]]:
        """Every pair of the ten settings."""
        later, early = [], []
        for run in SIZES:
            of = self.sizes.runs[run]
            pairs = [(a, b) for a, b in pairwise(of) if b - a == 1000 and b > 2000]
            later += [self._steps(self.sizes, run, a, run, b) for a, b in pairs[-50:]]
            early += [self._steps(self.sizes, run, a, run, b) for a, b in pairs[:50]]
        found = {"later": later, "early": early}
        for name, group in (("seed", self.seeds), ("size", self.sizes)):
            last = max(set.intersection(*(set(of) for of in group.runs.values())))
            found[name] = [
                self._steps(group, a, last, b, last) for a, b in combinations(group.runs, 2)
            ]
        for name, file, variant in (("8-bit", "8bit", "int8"), ("4-bit", "4bit", "fp4")):
            found[name] = [
                (model, f"{model}+{variant}", kl(self._row(model), copy, self.all_bytes))
                for model, copy in self._pickle(f"{file}_quantization_logp").items()
                if copy is not None
            ]
        found |= self._families()
        found["layer"] = [
            (f"{model}#layer{a:02d}", f"{model}#layer{b:02d}", kl(of[a], of[b], self.all_bytes))
            for model, of in self._layers()
            for a, b in pairwise(of)
        ]
        return found

    def _steps(self, group: Group, run: str, a: int, other: str, b: int) -> Pair:
        value = kl(group.runs[run][a], group.runs[other][b], group.mean_bytes)
        return f"EleutherAI/pythia-{run}@step{a}", f"EleutherAI/pythia-{other}@step{b}", value

    def _row(self, model: str) -> np.ndarray:
        return self.matrix[self.names.index(model)]

    def _layers(self) -> Iterable[tuple[str, dict[int, np.ndarray]]]:
        for model, of in self._pickle("layer_logp").items():
            if of is not None:
                yield model, {i: of[i] for i in sorted(of) if of[i] is not None}

    def _families(self) -> dict[str, list[Pair]]:
        edges: list[tuple[int, int]] = []
        by_type: dict[str, list[tuple[int, int]]] = {}
        for child, parent in self.parents.items():
            if isinstance(parent, list) and len(parent) == 1:
                parent = parent[0]
            if not isinstance(parent, str) or child not in self.types:
                continue
            if child in self.names and parent in self.names:
                edge = self.names.index(child), self.names.index(parent)
                edges.append(edge)
                by_type.setdefault(self.types[child], []).append(edge)
        draw = random.Random()
        intra, pool = [], []
        for related in by_type.values():
            members = set()
            for child, parent in related:
                members.add(child)
                members.add(parent)
            candidates = list(members)
            if len(candidates) > 1:
                pool += candidates
                draw.seed(0)
                intra += [draw.sample(candidates, 2) for _ in related]
        pool = list(set(pool))
        anywhere = [draw.sample(pool, 2) for _ in edges]

        def pairs(rows):
            return [
                (self.names[a], self.names[b], kl(self.matrix[a], self.matrix[b], self.all_bytes))
                for a, b in rows
            ]

        return {"ft": pairs(edges), "intra-type": pairs(intra), "random": pairs(anywhere)}

    # Training

    def consecutive(self) -> dict[tuple[str, int, int], float]:
        """(run, from, to) -> KL of the checkpoints that follow one another."""
        group = self.sizes
        return {
            (run, a, b): kl(of[a], of[b], group.mean_bytes)
            for run, of in group.runs.items()
            for a, b in pairwise(of)
        }

    def exponents(self) -> dict[tuple[str, int, str], tuple[float, float]]:
        """(run, start, space) -> exponent and R^2, NaN where there is none."""
        weights = self._pickle("weight_distance")
        found = {}
        for run, of in self.sizes.runs.items():
            for i, start in enumerate(STEPS[:-10]):
                if start < 1000:
                    continue
                ends = [(j, STEPS[j]) for j in range(i + 1, i + 11)]
                ends = [(j, end) for j, end in ends if (run, end) not in OUT_STEPS]
                far, near = [], []
                if (run, start) not in OUT_STEPS:
                    far = [(end - start, float(weights[run][i, j])) for j, end in ends]
                    near = [
                        (end - start, kl(of[start], of[end], self.sizes.mean_bytes))
                        for _, end in ends
                        if start in of and end in of
                    ]
                found[run, start, "log_likelihood"] = line(near)
                found[run, start, "weight"] = line(far)
        return found

    # Maps

    def map_rows(self) -> dict[str, tuple[list[str], np.ndarray, float]]:
        """Of figures 1 and 2: labels, vectors and mean bytes."""
        group = self.together
        order = [run for run in group.runs if "seed" in run] + list(SIZES)
        runs = [(f"EleutherAI/pythia-{run}@step{s}", v) for run in order
                for s, v in group.runs[run].items()]  # fmt: skip
        copies = self._pickle("8bit_quantization_logp")
        copied = [name for name in self.names if copies.get(name) is not None]
        quantised = [(name, self._row(name)) for name in copied]
        quantised += [(f"{name}+int8", copies[name]) for name in copied]
        edges = []
        for child, parent in self.parents.items():
            parent = parent[0] if isinstance(parent, list) and len(parent) == 1 else parent
            if isinstance(parent, str) and {child, parent} <= set(self.names) and child != parent:
                edges += [child, parent]
        families = [(name, self._row(name)) for name in self.names if name in edges]
        layers = dict(self._layers())
        layered = [(f"{name}#layer{i:02d}", v) for name in self.names if name in layers
                   for i, v in layers[name].items()]  # fmt: skip
        return {
            "trajectories": (*_columns(runs), group.mean_bytes),
            "8-bit": (*_columns(quantised), self.all_bytes),
            "families": (*_columns(families), self.all_bytes),
            "layers": (*_columns(layered), self.all_bytes),
        }


def _columns(rows) -> tuple[list[str], np.ndarray]:
    labels, vectors = zip(*rows, strict=True)
    return list(labels), np.array([np.asarray(v, np.float64) for v in vectors])


def kl(a, b, mean_bytes: float) -> float:
    """Bits per byte."""
    d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(np.mean((d - d.mean()) ** 2) / (2 * mean_bytes * math.log(2)))


def line(points) -> tuple[float, float]:
    """Slope of log y against log x by least squares, and R^2; NaN for fewer than two points."""
    points = [(x, y) for x, y in points if x > 0 and y > 0]
    if len(points) < 2:
        return math.nan, math.nan
    x, y = np.log(np.array(points, np.float64)).T
    design = np.stack([x, np.ones_like(x)], axis=1)
    (slope, constant), *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - slope * x - constant
    return float(slope), float(1 - (left**2).sum() / ((y - y.mean()) ** 2).sum())


if __name__ == "__main__":
    oracle = Oracle(Path(sys.argv[1]))
    for setting, values in oracle.scale().items():
        found = np.array([value for *_, value in values])
        print(f"{setting:<11} {np.median(found):.9g} {found.mean():.9g} {len(found)}")
