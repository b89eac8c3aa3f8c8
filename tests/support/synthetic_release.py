"""A folder in the authors' layout with made-up scores, and faults planted in it.

By hand, at the full size: python tests/support/synthetic_release.py FOLDER
"""

from __future__ import annotations

import json
import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

STEPS = (0, *(2**i for i in range(10)), *range(1000, 143_001, 1000))
SIZES = ("410m", "1b", "1.4b", "2.8b", "6.9b")
TYPES = ("llama", "mistral", "gpt_neox", "qwen2", "gpt2")


@dataclass(frozen=True)
class Layout:
    """How large a release is."""

    texts: int = 10_000
    sizes: tuple[str, ...] = SIZES
    steps: tuple[int, ...] = STEPS
    seeds: int = 9  # of the first size
    models: int = 1018
    quantised: int = 50
    layered: int = 50
    layers: int = 24
    children: int = 400
    with_texts: bool = True
    raw: bool = True


FULL = Layout()
SMALL = Layout(texts=200, models=40, quantised=6, layered=4, layers=5, children=16)


@dataclass
class Planted:
    """The faults, by the names that a store gives them."""

    none: list[str] = field(default_factory=list)
    nan: list[str] = field(default_factory=list)
    bad_runs: tuple[str, ...] = ("pythia-410m-seed3", "pythia-410m-seed4")
    merges: list[str] = field(default_factory=list)


def make_release(folder: Path, layout: Layout = SMALL, seed: int = 0) -> Planted:
    """Writes the folder and says what is wrong with it."""
    rng = np.random.default_rng(seed)
    planted = Planted()
    folder.mkdir(parents=True, exist_ok=True)
    base_N = -(600 + 250 * rng.standard_t(4, layout.texts)).clip(-1500, 3000)
    names = [f"org{k % 7}/model-{k}" for k in range(layout.models)]

    def dump(name: str, content: object, protocol: int = 4) -> None:
        (folder / name).write_bytes(pickle.dumps(content, protocol))

    pretraining, distances = {}, {}
    runs = [*layout.sizes, *(f"{layout.sizes[0]}-seed{s}" for s in range(1, layout.seeds + 1))]
    for place, run in enumerate(runs):
        pretraining[run] = _run(rng, base_N, layout, place)
        distances[run] = _weights(rng, layout)
    if "410m-seed3" in pretraining:
        for scores_N in pretraining["410m-seed3"].values():
            scores_N -= rng.gamma(2.0, 300.0, layout.texts)
    if "1b" in pretraining and 116_000 in pretraining["1b"]:
        pretraining["1b"][116_000] *= 3.0
    for run, step in ((runs[0], layout.steps[-5]), (runs[-1], layout.steps[7])):
        pretraining[run][step] = None
        planted.none.append(f"EleutherAI/pythia-{run}@step{step}")
    nan_step = layout.steps[-20]
    pretraining[runs[1]][nan_step][3] = np.nan
    planted.nan.append(f"EleutherAI/pythia-{runs[1]}@step{nan_step}")
    dump("pretraining_logp.pkl", pretraining, protocol=5)
    dump("weight_distance.pkl", distances, protocol=2)

    types = {name: TYPES[k % len(TYPES)] for k, name in enumerate(names)}
    centre_TN = {kind: 40 * rng.normal(size=layout.texts) for kind in TYPES}
    raw = {
        name: (base_N + centre_TN[types[name]] + 25 * rng.normal(size=layout.texts))
        for name in names
    }
    parents: dict[str, str | list[str] | None] = dict.fromkeys(names)
    for k in range(layout.children):
        child = names[-1 - k]
        of_type = [n for n in names[: layout.models - layout.children] if types[n] == types[child]]
        parent = of_type[k % len(of_type)]
        parents[child] = parent
        raw[child] = raw[parent] + rng.choice([1.0, 8.0, 20.0]) * rng.normal(size=layout.texts)
        if k % 8 == 7:
            parents[child] = [parent, of_type[(k + 1) % len(of_type)]]
            planted.merges.append(child)
    raw = {name: scores_N.astype(np.float32) for name, scores_N in raw.items()}
    if layout.raw:
        dump("raw_log-likelihood_1018.pkl", raw)
    stacked_KN = np.stack(list(raw.values()))
    dump("oyama2025_logp.pkl", np.maximum(stacked_KN, np.quantile(stacked_KN, 0.02)))
    for name, content in (
        ("model_list.json", names),
        ("modelname2type.json", types),
        ("sibling_info.json", parents),
    ):
        (folder / name).write_text(json.dumps(content))

    for bits, noise in (("8bit", 1.5), ("4bit", 9.0)):
        found = {
            name: (raw[name] + noise * rng.normal(size=layout.texts)).astype(np.float32)
            for name in names[: layout.quantised]
        }
        found[names[layout.quantised - 1]] = None
        planted.none.append(f"{names[layout.quantised - 1]}+{'int8' if bits == '8bit' else 'fp4'}")
        dump(f"{bits}_quantization_logp.pkl", found)
    layers = {}
    for name in names[: layout.layered]:
        step_LN = 60 * rng.normal(size=(layout.layers, layout.texts))
        up_LN = raw[name] - 300.0 - np.cumsum(step_LN[::-1], axis=0)[::-1]
        layers[name] = {i: up_LN[i].astype(np.float32) for i in range(layout.layers)}
        layers[name][layout.layers] = raw[name].copy()
    layers[names[0]][2] = None
    planted.none.append(f"{names[0]}#layer02")
    dump("layer_logp.pkl", layers)
    if layout.with_texts:
        sizes = rng.integers(300, 1024, layout.texts)
        texts = [f"{n} ".ljust(size, "x") for n, size in enumerate(sizes)]
        (folder / "texts.json").write_text(json.dumps(texts))
    return planted


def _run(rng, base_N, layout, place) -> dict[int, np.ndarray]:
    """A run that learns fast at first and then wanders, ever more slowly; a few texts jump."""
    jumpy_N = rng.random(layout.texts) < 0.02
    drift_N = (8 + 4 * place) * rng.normal(size=layout.texts)
    wander_N = np.zeros(layout.texts)
    found = {}
    for before, step in zip((0, *layout.steps), layout.steps, strict=False):
        width = 3.0 * np.sqrt((step - before) / 1000.0) * (1 + 5e3 / (step + 1e3))
        wander_N = wander_N + width * rng.normal(size=layout.texts)
        wander_N = wander_N + 25 * jumpy_N * rng.normal(size=layout.texts) * (step > before)
        scores_N = base_N + drift_N + wander_N - 2000 * np.exp(-step / 800.0)
        found[step] = scores_N.astype(np.float32)
    return found


def _weights(rng, layout) -> np.ndarray:
    """Squared distances for the ten checkpoints after each, zero elsewhere."""
    num_steps = len(layout.steps)
    steps_I = np.array(layout.steps, float)
    lag_II = np.abs(steps_I[:, None] - steps_I)
    noise_II = np.exp(0.02 * rng.normal(size=(num_steps, num_steps)))
    distance_II = np.where(lag_II > 0, lag_II**0.9, 0.0) * noise_II
    return np.triu(distance_II, 1) - np.triu(distance_II, 11)


if __name__ == "__main__":
    print(make_release(Path(sys.argv[1]), FULL))
