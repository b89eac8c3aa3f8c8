"""The tables of jaxmap's own recipe for a released folder, by plain NumPy in float64.

Written from the method's text alone; what the authors' pipeline gives is in published_oracle.py.
Shares no code with the package. By hand: python tests/support/release_oracle.py FOLDER
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np

STEPS = [0, *(2**i for i in range(10)), *range(1000, 143_001, 1000)]
SIZES = ("410m", "1b", "1.4b", "2.8b", "6.9b")
SEEDS = tuple(f"410m-seed{s}" for s in (1, 2, 5, 6, 7, 8, 9))


class Oracle:
    """Reads the folder; `scale()`, `exponents()`, `steps()` are the tables."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.raw = {
            k: np.asarray(v, float) for k, v in self.load("raw_log-likelihood_1018").items()
        }
        texts = json.loads(self.path("texts.json").read_text())
        self.bytes_N = np.array([len(text.encode()) for text in texts], float)
        self._clean()

    def load(self, name):
        return pickle.loads(self.path(f"{name}.pkl").read_bytes())

    def path(self, name):
        (path,) = self.folder.rglob(name)
        return path

    def _clean(self):
        runs = {k: v for k, v in self.load("pretraining_logp").items() if k in SIZES + SEEDS}
        for run, steps in runs.items():
            for step, v in steps.items():
                bad = v is None or not np.isfinite(v).all() or (run, step) == ("1b", 116_000)
                steps[step] = None if bad else np.asarray(v, float)
        everything = np.stack(
            [v for steps in runs.values() for v in steps.values() if v is not None]
        )
        floor = np.percentile(everything, 2)
        num_texts = everything.shape[1]
        jump = np.zeros(num_texts)
        for steps in runs.values():
            order = sorted(steps)
            for step in order:
                if steps[step] is not None:
                    steps[step] = np.where(steps[step] < floor, floor, steps[step])
            for a, b in pairwise(order):
                if a >= 2000 and steps[a] is not None and steps[b] is not None:
                    jump = np.fmax(jump, abs(steps[b] - steps[a]))
        drop = np.argsort(jump, kind="stable")[num_texts - round(num_texts * 0.03) :]
        self.keep = np.delete(np.arange(num_texts), drop)
        self.runs = {
            run: {s: None if v is None else v[self.keep] for s, v in sorted(steps.items())}
            for run, steps in runs.items()
        }
        self.pre_bytes = self.bytes_N[self.keep].mean()
        self.map_bytes = self.bytes_N.mean()
        self.floor = np.percentile(np.stack(list(self.raw.values())), 2)

    @staticmethod
    def kl(a, b, mean_bytes):
        return np.mean((a - b - np.mean(a - b)) ** 2) / (2 * mean_bytes * np.log(2))

    def scale(self) -> dict[str, np.ndarray]:
        """KL of every pair of each setting, in the order of the method's table."""
        later, early = [], []
        for run in SIZES:
            order = [s for s in self.runs[run] if s >= 2000]
            pairs = list(pairwise(order))
            for out, chosen in ((later, pairs[-50:]), (early, pairs[:50])):
                for a, b in chosen:
                    v, w = self.runs[run][a], self.runs[run][b]
                    if v is not None and w is not None:
                        out.append(self.kl(v, w, self.pre_bytes))
        found = {"later": later, "early": early}
        for name, group in (("seed", SEEDS), ("size", SIZES)):
            last = max(s for s in self.runs[group[0]] if all(
                self.runs[run].get(s) is not None for run in group))  # fmt: skip
            vectors = [self.runs[run][last] for run in group]
            found[name] = [self.kl(a, b, self.pre_bytes) for a, b in combinations(vectors, 2)]
        clip = {name: np.fmax(v, self.floor) for name, v in self.raw.items()}

        def of(pairs):
            return [self.kl(a, b, self.map_bytes) for a, b in pairs]

        for bits in ("8bit", "4bit"):
            quantised = self.load(f"{bits}_quantization_logp")
            found[f"{bits[0]}-bit"] = of(
                (clip[n], np.fmax(np.asarray(v, float), self.floor))
                for n, v in quantised.items() if v is not None
            )  # fmt: skip
        parents = json.loads(self.path("sibling_info.json").read_text())
        types = json.loads(self.path("modelname2type.json").read_text())
        alone = {c: p[0] if isinstance(p, list) and len(p) == 1 else p for c, p in parents.items()}
        family = {
            c: p
            for c, p in alone.items()
            if isinstance(p, str) and c in clip and p in clip and c != p
        }
        found["ft"] = of((clip[c], clip[p]) for c, p in family.items())
        names = sorted(clip, key=natural)

        def drawn(group, count):
            pairs = list(combinations(group, 2))
            chosen = np.random.default_rng(0).choice(len(pairs), size=count, replace=False)
            return [(clip[a], clip[b]) for a, b in (pairs[i] for i in chosen)]

        intra = []
        for kind in sorted(set(types.values())):
            count = sum(types.get(child) == kind for child in family)
            if count:
                intra += drawn([n for n in names if types.get(n) == kind], count)
        found["intra-type"] = of(intra)
        found["random"] = of(drawn(names, len(family)))
        layer = []
        for layers in self.load("layer_logp").values():
            for i in sorted(layers or {}):
                if i + 1 in layers and layers[i] is not None and layers[i + 1] is not None:
                    two = np.array([layers[i], layers[i + 1]], float)
                    layer.append(np.fmax(two, self.floor))
        found["layer"] = of(layer)
        return {name: np.array(values) for name, values in found.items()}

    def exponents(self) -> dict[tuple[str, int, str], tuple[float, float]]:
        """(run, start, space) -> exponent and R^2; NaN where the start was left out."""
        weights = self.load("weight_distance")
        found = {}
        for run, steps in self.runs.items():
            order = list(steps)
            out = [s for s in order if (run, s) == ("1b", 116_000)]
            for i, start in enumerate(order[: len(order) - 10]):
                if start < 1000:
                    continue
                after = range(i + 1, i + 11)
                here = steps[start]
                there = [j for j in after if here is not None and steps[order[j]] is not None]
                kl = [(order[j] - start, self.kl(here, steps[order[j]], self.pre_bytes))
                      for j in there]  # fmt: skip
                found[run, start, "log_likelihood"] = line(kl)
                if run not in weights:
                    continue
                place = {j: STEPS.index(order[j]) for j in (i, *after)}
                far = [(order[j] - start, float(weights[run][place[i], place[j]]))
                       for j in after if start not in out and order[j] not in out]  # fmt: skip
                found[run, start, "weight"] = line(far)
        return found

    def steps(self) -> dict[tuple[str, int, int], float]:
        """(run, from, to) -> KL between neighbouring saved checkpoints; NaN for a gap."""
        found = {}
        for run, steps in self.runs.items():
            order = list(steps)
            for a, b in pairwise(order):
                there = steps[a] is not None and steps[b] is not None
                found[run, a, b] = self.kl(steps[a], steps[b], self.pre_bytes) if there else np.nan
        return found


def natural(name):
    """org2/model-10 after org2/model-9."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in
            re.findall(r"\d+|\D+", name)]  # fmt: skip


def line(points):
    points = [(lag, far) for lag, far in points if far > 0]  # a zero was not computed
    if len(points) < 3:
        return np.nan, np.nan
    x, y = np.log(np.array(points)).T
    design = np.stack([x, np.ones_like(x)], axis=1)
    (slope, constant), *_ = np.linalg.lstsq(design, y, rcond=None)
    left = y - slope * x - constant
    return slope, 1 - (left**2).sum() / ((y - y.mean()) ** 2).sum()


if __name__ == "__main__":
    for setting, values in Oracle(Path(sys.argv[1])).scale().items():
        print(f"{setting:<11} {np.median(values):.9g} {values.mean():.9g} {len(values)}")
