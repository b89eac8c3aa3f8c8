"""A folder in the authors' layout with made-up scores, and awkward cases planted in it.

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
GOOD_SEEDS = tuple(f"410m-seed{s}" for s in (1, 2, 5, 6, 7, 8, 9))
TYPES = ("llama-2", "mistral", "gpt_neox", "gemma", "opt")
LONELY = "falcon"  # the type of one model, which is its own parent
FOLDERS = {
    "pretraining_logp.pkl": "logp",
    "8bit_quantization_logp.pkl": "logp",
    "4bit_quantization_logp.pkl": "logp",
    "layer_logp.pkl": "logp",
    "oyama2025_logp.pkl": "logp",
    "raw_log-likelihood_1018.pkl": "logp",
    "model_list.json": "model_info",
    "modelname2type.json": "model_info",
    "sibling_info.json": "model_info",
    "type2color.json": "model_info",
    "pretraining_tsne_2d.pkl": "tsne",
    "8bit_quantization_tsne.pkl": "tsne",
    "ft_tsne.pkl": "tsne",
    "layer_tsne.pkl": "tsne",
    "weight_distance.pkl": "weight_distance",
    "texts.json": "",
}


@dataclass(frozen=True)
class Layout:
    """How large a release is, and how it is laid out. `data` is the folder that the authors'
    repository has; `flat` has no folders inside. `steps` are those of every run."""

    texts: int = 10_000
    sizes: tuple[str, ...] = SIZES
    steps: tuple[int, ...] = STEPS
    seeds: int = 9  # of the first size
    models: int = 1018
    quantised: int = 50
    layered: int = 50
    layers: int = 32  # at most
    children: int = 400
    flat: bool = False
    data: bool = True
    with_texts: bool = True
    with_tsne: bool = True
    raw: bool = False
    nan: bool = False
    step_in_name: bool = True  # of a model that is no checkpoint


FULL = Layout()
SMALL = Layout(texts=200, models=60, quantised=8, layered=6, layers=5, children=30)


@dataclass
class Planted:
    """The awkward cases, by the names that a store gives them; `root` holds the files."""

    root: Path
    none: list[str] = field(default_factory=list)
    nan: list[str] = field(default_factory=list)
    bad_runs: tuple[str, ...] = ("pythia-410m-seed3", "pythia-410m-seed4")
    merges: list[str] = field(default_factory=list)

    def path(self, name: str) -> Path:
        """Where a file of the release lies."""
        nested = self.root / FOLDERS[name] / name
        return nested if nested.exists() else self.root / name


def make_release(folder: Path, layout: Layout = SMALL, seed: int = 0) -> Planted:
    """Writes the folder and says what is awkward in it."""
    rng = np.random.default_rng(seed)
    planted = Planted(folder / "data" if layout.data and not layout.flat else folder)
    planted.root.mkdir(parents=True, exist_ok=True)

    def write(name: str, content: object, protocol: int = 4) -> None:
        path = planted.root / ("" if layout.flat else FOLDERS[name]) / name
        path.parent.mkdir(exist_ok=True)
        if name.endswith(".json"):
            path.write_text(json.dumps(content), encoding="utf-8")
        else:
            path.write_bytes(pickle.dumps(content, protocol))

    base_N = -(600 + 250 * rng.standard_t(4, layout.texts)).clip(-1500, 3000)
    base_N -= 2200 * (rng.random(layout.texts) < 0.03)  # about the floor, in all of training
    runs = _runs(rng, base_N, layout, planted)
    write("pretraining_logp.pkl", runs, protocol=5)
    weights = {run: _weights(rng, layout) for run in layout.sizes}
    write("weight_distance.pkl", weights, protocol=2)

    names = _names(layout)
    types, parents = _genealogy(rng, names, layout, planted)
    write("model_list.json", names)
    write("modelname2type.json", types)
    write("sibling_info.json", parents)
    write("type2color.json", {kind: [*rng.random(3), 1.0] for kind in (*TYPES, "others")})
    raw = _models(rng, base_N, names, types, parents)
    if layout.raw:
        write("raw_log-likelihood_1018.pkl", raw)
    stacked_KN = np.stack(list(raw.values()))
    clipped_KN = np.maximum(stacked_KN, np.float32(np.quantile(stacked_KN, 0.02)))
    write("oyama2025_logp.pkl", clipped_KN)

    copied = names[:: max(1, layout.models // layout.quantised)][: layout.quantised]
    for bits, noise, variant in (("8bit", 1.5, "int8"), ("4bit", 9.0, "fp4")):
        copies = {
            name: (raw[name] + noise * rng.normal(size=layout.texts)).astype(np.float32)
            for name in copied
        }
        for name in copied[-1:] if bits == "8bit" else copied[1:3]:
            copies[name] = None
            planted.none.append(f"{name}+{variant}")
        write(f"{bits}_quantization_logp.pkl", copies)
    layers = _layers(rng, raw, names[: layout.layered], layout, planted)
    write("layer_logp.pkl", layers)
    if layout.with_texts:
        sizes = rng.integers(300, 1024, layout.texts)
        texts = [f"{n} é ".ljust(size, "x") for n, size in enumerate(sizes)]
        write("texts.json", texts)
    if layout.with_tsne:
        _tsne(rng, write, runs, copied[:-1], names, parents, layers)
    return planted


def _names(layout: Layout) -> list[str]:
    """Among them one that is a training run as well, and one with a step in its name."""
    names = [f"org{k % 7}/model-{k}" for k in range(layout.models)]
    names[0] = "EleutherAI/pythia-410m"
    if layout.step_in_name and len(names) > 4:
        names[4] = "org4/tiny-intermediate-step-1431k-3T"
    return names


def _runs(rng, base_N, layout: Layout, planted: Planted) -> dict[str, dict[int, object]]:
    found: dict[str, dict[int, object]] = {}
    names = [*layout.sizes, *(f"{layout.sizes[0]}-seed{s}" for s in range(1, layout.seeds + 1))]
    for place, run in enumerate(names):
        found[run] = _run(rng, base_N, layout, place)
    for run, factor in (("410m-seed3", 300.0), ("410m-seed4", 200.0)):
        for scores_N in found.get(run, {}).values():
            scores_N -= rng.gamma(2.0, factor, layout.texts).astype(np.float32)
    if 116_000 in found.get("1b", {}):
        found["1b"][116_000] = found["1b"][116_000] * np.float32(3.0)
    awkward = [
        ("410m", 120_000), ("410m", 121_000),  # in the middle of the last 50
        ("1.4b", 20_000),  # in the middle of the first 50
        ("2.8b", 143_000), ("410m-seed7", 143_000),  # the last of all is not common
        ("6.9b", 64), ("410m-seed9", 5_000),
        # A window of ten with two left.
        *(("2.8b", step) for step in range(60_000, 68_000, 1000)),
    ]  # fmt: skip
    for run, step in awkward:
        if step in found.get(run, {}):
            found[run][step] = None
            planted.none.append(f"EleutherAI/pythia-{run}@step{step}")
    found.get("6.9b", {}).pop(90_000, None)  # not even None
    if layout.nan:
        run, step = layout.sizes[1], layout.steps[-20]
        found[run][step][3] = np.nan
        planted.nan.append(f"EleutherAI/pythia-{run}@step{step}")
    return found


def _run(rng, base_N, layout: Layout, place: int) -> dict[int, object]:
    """A run that learns fast at first and then wanders, ever more slowly; a few texts jump."""
    jumpy_N = rng.random(layout.texts) < 0.02
    drift_N = (8 + 4 * place) * rng.normal(size=layout.texts)
    wander_N = np.zeros(layout.texts)
    found: dict[int, object] = {}
    for before, step in zip((0, *layout.steps), layout.steps, strict=False):
        width = 3.0 * np.sqrt((step - before) / 1000.0) * (1 + 5e3 / (step + 1e3))
        wander_N = wander_N + width * rng.normal(size=layout.texts)
        wander_N = wander_N + 25 * jumpy_N * rng.normal(size=layout.texts) * (step > before)
        scores_N = base_N + drift_N + wander_N - 2000 * np.exp(-step / 800.0)
        found[step] = scores_N.astype(np.float32)
    return found


def _weights(rng, layout: Layout) -> np.ndarray:
    """Squared distances to the ten checkpoints after each but the last ten, zero elsewhere."""
    num_steps = len(layout.steps)
    steps_I = np.array(layout.steps, float)
    lag_II = np.abs(steps_I[:, None] - steps_I)
    noise_II = np.exp(0.02 * rng.normal(size=(num_steps, num_steps)))
    distance_II = np.where(lag_II > 0, lag_II**0.9, 0.0) * noise_II
    distance_II = np.triu(distance_II, 1) - np.triu(distance_II, 11)
    distance_II[num_steps - 10 :] = 0.0
    return distance_II


def _genealogy(rng, names: list[str], layout: Layout, planted: Planted):
    """Types and parents: merges, lists of one, an only child that is its own parent, a child
    without a type, parents and children that are not in the list; keys in an order of their own."""
    types = {name: TYPES[int(k)] for name, k in
             zip(names, rng.integers(len(TYPES), size=len(names)), strict=True)}  # fmt: skip
    roots = names[: layout.models - layout.children]
    children = names[layout.models - layout.children :]
    parents: dict[str, object] = {}
    for k in rng.permutation(len(children)).tolist():
        child = children[k]
        of_type = [name for name in roots if types[name] == types[child]] or roots
        parent = of_type[k % len(of_type)]
        parents[child] = [parent] if k % 6 == 5 else parent
        if k % 8 == 7:
            parents[child] = [parent, of_type[(k + 1) % len(of_type)]]
            planted.merges.append(child)
    if len(children) > 5:
        parents[children[0]] = children[1]  # a grandchild
        if parents[children[1]] == children[0]:
            parents[children[1]] = roots[0]
        parents[children[2]] = "elsewhere/unknown"
        del types[children[3]]
        parents[children[3]] = roots[1]
        parents[children[4]] = children[4]
        types[children[4]] = LONELY
        planted.merges = [name for name in planted.merges if len(np.ravel(parents[name])) > 1]
        parents["elsewhere/child"] = roots[0]
        types["elsewhere/child"] = TYPES[0]
    for name in roots[::-1]:
        parents[name] = None
    return types, parents


def _models(rng, base_N, names: list[str], types, parents) -> dict[str, np.ndarray]:
    """Scores of the models, float32; children lie near their first parent, which comes first."""
    texts = len(base_N)
    centre_TN = {kind: 40 * rng.normal(size=texts) for kind in (*TYPES, LONELY, None)}
    raw: dict[str, np.ndarray] = {}
    for name in names:
        first = np.ravel(parents.get(name) or name)[0]
        if first in raw:
            scores_N = raw[first] + rng.choice([1.0, 8.0, 20.0]) * rng.normal(size=texts)
        else:
            scores_N = base_N + centre_TN[types.get(name)] + 25 * rng.normal(size=texts)
        raw[name] = scores_N.astype(np.float32)
    return raw


def _layers(rng, raw, names: list[str], layout: Layout, planted: Planted):
    """Layers whose scores fall far below the floor of the models towards the embedding."""
    layers: dict[str, object] = {}
    for place, name in enumerate(names):
        depth = layout.layers - place % 3
        step_LN = 60 * rng.normal(size=(depth, layout.texts))
        up_LN = raw[name] - 300.0 - np.cumsum(step_LN[::-1], axis=0)[::-1]
        layers[name] = {i: up_LN[i].astype(np.float32) for i in range(depth)}
        layers[name][depth] = raw[name].copy()
    if len(names) > 2:
        layers[names[0]][2] = None
        planted.none.append(f"{names[0]}#layer02")
        layers[names[1]] = None
        planted.none.append(f"{names[1]}#lens")
    return layers


def _tsne(rng, write, runs, copied, names, parents, layers) -> None:
    """Coordinates of the right shapes; nothing says that they are those of the scores."""
    shown = [run for run in (*GOOD_SEEDS, *SIZES) if run in runs] or list(runs)
    lengths = {
        run: sum(
            scores is not None and (run, step) != ("1b", 116_000)
            for step, scores in runs[run].items()
        )
        for run in shown
    }
    walks = [np.cumsum(rng.normal(size=(n, 2)), axis=0) for n in lengths.values()]
    write(
        "pretraining_tsne_2d.pkl",
        {
            "embedding": np.concatenate(walks).astype(np.float32),
            "metadata": {"model_names": shown, "model_lengths": lengths, "init": "pca"},
        },
    )

    def place() -> np.ndarray:
        return (8 * rng.normal(size=2)).astype(np.float32)

    write(
        "8bit_quantization_tsne.pkl",
        {name: {"original": place(), "quantized": place()} for name in copied},
    )
    edges = [
        (child, np.ravel(parent)[0])
        for child, parent in parents.items()
        if parent is not None and len(np.ravel(parent)) == 1
    ]
    related = {
        name for edge in edges for name in edge if edge[0] != edge[1] and set(edge) <= set(names)
    }
    write("ft_tsne.pkl", {name: place() for name in names if name in related})
    write(
        "layer_tsne.pkl",
        {
            name: np.stack([place() for scores in of.values() if scores is not None])
            for name, of in layers.items()
            if of is not None
        },
    )


if __name__ == "__main__":
    print(make_release(Path(sys.argv[1]), FULL))
