"""Pairwise KL of all models against what people would use: time, memory, error, in one run.

    python benchmarks/map.py [--models=1018] [--texts=10000] [--repeats=3]
    python benchmarks/map.py --large [--models=20000] [--texts=10000] [--folder=DIR] \
        [--out=benchmarks/results/map-large-cpu.json]

Peers compute squared Euclidean distances of the doubly centred vectors, which is the same table up
to a factor. Near-identical pairs are planted (a tenth of the models is a copy of another plus
noise, down to KL of 1e-8 bits per byte), and errors are against differences in float64, over those
and a thousand others. Each contender is run in its own process, in turn, `repeats` times; time is
the least, memory the process's peak beyond the matrix that it is given. Then jaxmap and the peer
to beat are run by turns in one process, on which a busy machine has less hold: the ratio of their
times and of the seconds that their threads took, median over turns.

--large: all pairs of many models from a file into a file, both memory-mapped, in --folder (4.8 GB
at the default size; taken away at the end). Memory is what the process takes beside the two maps.
--out keeps the figures, from which benchmarks/planner.py derives those of 100,000 models.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

MEAN_BYTES = 972.3188
UNIT = 2.0 * MEAN_BYTES * math.log(2.0)


def vectors(num_models: int, num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up scores [K, N], nats, and the pairs [P, 2] at which errors are looked at."""
    rng = np.random.default_rng(0)
    ll_KN = -900 + 100 * rng.standard_t(6, size=(num_models, num_texts))
    copies = max(1, num_models // 10)
    noise_P1 = np.sqrt(UNIT * np.logspace(-8, -1, copies))[:, None]
    ll_KN[-copies:] = ll_KN[:copies] + noise_P1 * rng.normal(size=(copies, num_texts))
    near = np.stack([np.arange(copies), np.arange(num_models - copies, num_models)], axis=1)
    far = np.sort(rng.choice(num_models - copies, size=(1000, 2)), axis=1)
    return ll_KN, np.concatenate([near, far[far[:, 0] < far[:, 1]]])


def centred(ll_KN: np.ndarray) -> np.ndarray:
    q_KN = ll_KN - ll_KN.mean(axis=1, keepdims=True)
    return q_KN - q_KN.mean(axis=0)


def jaxmap_kl(ll_KN):
    from jaxmap.stats.divergence import kl_KK

    return lambda: kl_KK(ll_KN, MEAN_BYTES, errors=False).kl


def jaxmap_with_errors(ll_KN):
    from jaxmap.stats.divergence import kl_KK

    return lambda: kl_KK(ll_KN, MEAN_BYTES).kl


def sklearn_float64(ll_KN):
    from sklearn.metrics.pairwise import euclidean_distances

    unit = UNIT * ll_KN.shape[1]
    return lambda: euclidean_distances(centred(ll_KN), squared=True) / unit


def sklearn_float32(ll_KN):
    from sklearn.metrics.pairwise import euclidean_distances

    unit = UNIT * ll_KN.shape[1]
    return lambda: euclidean_distances(centred(ll_KN).astype(np.float32), squared=True) / unit


def scipy_pdist(ll_KN):
    from scipy.spatial.distance import pdist, squareform

    unit = UNIT * ll_KN.shape[1]
    return lambda: squareform(pdist(centred(ll_KN), "sqeuclidean")) / unit


CONTENDERS = {
    "jaxmap": jaxmap_kl,
    "jaxmap, with standard errors": jaxmap_with_errors,
    "scikit-learn, float64": sklearn_float64,
    "scikit-learn, float32": sklearn_float32,
    "SciPy pdist, float64": scipy_pdist,
}


def measure(name: str, num_models: int, num_texts: int) -> dict[str, float]:
    """One contender in this process; seconds of the second call, so that nothing is compiled."""
    ll_KN, pairs_P2 = vectors(num_models, num_texts)
    compute = CONTENDERS[name](ll_KN)
    small = CONTENDERS[name](ll_KN[:8])
    small()  # imports, threads
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(2):
        started = time.perf_counter()
        kl_KK = compute()
        times.append(time.perf_counter() - started)
        if times[0] > 5:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    exact_P = np.array([np.var(ll_KN[i] - ll_KN[j]) for i, j in pairs_P2]) / UNIT
    off_P = np.abs(kl_KK[pairs_P2[:, 0], pairs_P2[:, 1]] / exact_P - 1)
    return {
        "seconds": min(times),
        "mebibytes": (peak - before) / 1024,
        "error_1e-3": float(off_P[exact_P >= 1e-3].max()),
        "error_all": float(off_P.max()),
    }


def by_turns(num_models: int, num_texts: int, turns: int) -> tuple[float, float]:
    """Times of scikit-learn over those of jaxmap: of the clock, and of all threads."""
    ll_KN, _ = vectors(num_models, num_texts)
    names = ("jaxmap", "scikit-learn, float64")
    compute = {name: CONTENDERS[name](ll_KN) for name in names}
    for one in compute.values():
        one()
    ratios = []
    for turn in range(turns):
        seconds = {}
        for name in names if turn % 2 else names[::-1]:
            clock, threads = time.perf_counter(), time.process_time()
            compute[name]()
            seconds[name] = (time.perf_counter() - clock, time.process_time() - threads)
        ratios.append([b / a for a, b in zip(*(seconds[name] for name in names), strict=True)])
    clock, threads = np.median(ratios, axis=0)
    return float(clock), float(threads)


def own_memory() -> int:
    """Bytes of the process that are no file's, or 0 where the system does not report it."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["RssAnon"].split()[0])
    except (OSError, KeyError):
        return 0


def large(num_models: int, num_texts: int, folder: str | None, record: str | None) -> None:
    """All pairs from a file into a file, and a thousand of them against differences."""
    from jaxmap.benchmarking.report import this_machine
    from jaxmap.stats.divergence import TILE, Divergence, kl_KK

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        shape = (num_models, num_texts)
        ll_KN = np.lib.format.open_memmap(f"{place}/ll.npy", "w+", np.float64, shape)
        step_N = np.zeros(num_texts)
        for k in range(num_models):  # runs of a hundred checkpoints that wander
            fresh = k % 100 == 0
            step_N = 100 * rng.normal(size=num_texts) if fresh else step_N
            step_N = step_N + 3 * rng.standard_normal(num_texts)
            ll_KN[k] = step_N - 900
        ll_KN.flush()
        out = np.lib.format.open_memmap(f"{place}/kl.npy", "w+", np.float64, (num_models,) * 2)
        before = most = own_memory()
        pairs, total, clock = 0, num_models * (num_models - 1) // 2, time.perf_counter()

        def update(done: int) -> None:
            nonlocal most, pairs
            most, pairs = max(most, own_memory()), pairs + done
            print(f"\r{pairs / total:.0%}", end="", file=sys.stderr, flush=True)

        threads = time.process_time()
        kl_KK(ll_KN, MEAN_BYTES, out=Divergence(out, np.empty((0, 0))), errors=False, update=update)
        out.flush()
        clock, threads = time.perf_counter() - clock, time.process_time() - threads
        some = rng.integers(0, num_models - 1, 1000)
        other = np.where(rng.random(1000) < 0.5, some + 1, rng.integers(0, num_models, 1000))
        exact = np.array([np.var(ll_KN[i] - ll_KN[j]) for i, j in zip(some, other, strict=True)])
        kl_P, exact_P = out[some, other], exact / UNIT
        off = np.abs(kl_P - exact_P) / np.where(exact_P > 0, exact_P, 1.0)
        found = {
            "models": num_models,
            "texts": num_texts,
            "tile": TILE,
            "seconds": clock,
            "cpu_seconds": threads,
            "peak_bytes": most - before,
            "error": float(off.max()),
        }
        print(
            f"\n{num_models} models x {num_texts} texts, {os.cpu_count()} cores: {clock:.0f} s, "
            f"{threads:.0f} s of all threads, {(most - before) / 2**20:.0f} MiB beside the files, "
            f"error {off.max():.1e}"
        )
    if record:
        command = f"python benchmarks/map.py --large --models={num_models} --texts={num_texts}"
        kept = {"command": command, **found, "machine": this_machine()}
        with open(record, "w", encoding="utf-8") as file:
            file.write(json.dumps(kept, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--folder")
    parser.add_argument("--out", help="of --large: a .json for its figures")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.large:
        large(options.models or 20_000, options.texts, options.folder, options.out)
        return
    options.models = options.models or 1018
    if options.contender:
        print(json.dumps(measure(options.contender, options.models, options.texts)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for turn in range(options.repeats):
        for name in CONTENDERS:
            if turn and min(one["seconds"] for one in found[name]) > 5:
                continue  # a slow one is not made faster by patience
            command = [
                sys.executable, __file__, f"--models={options.models}", f"--texts={options.texts}",
                f"--contender={name}",
            ]  # fmt: skip
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout))
    print(f"{options.models} models x {options.texts} texts, {os.cpu_count()} cores")
    print(f"{'':<30} {'seconds':>8} {'MiB':>6} {'err KL>=1e-3':>13} {'err all':>9}")
    best = {name: min(one["seconds"] for one in runs) for name, runs in found.items()}
    for name, runs in found.items():
        one = runs[0]
        memory = min(run["mebibytes"] for run in runs)
        print(
            f"{name:<30} {best[name]:8.2f} {memory:6.0f} {one['error_1e-3']:13.1e} "
            f"{one['error_all']:9.1e}"
        )
    clock, threads = by_turns(options.models, options.texts, options.turns)
    print(
        f"scikit-learn float64 / jaxmap, by turns: {clock:.2f} by the clock, {threads:.2f} of CPU"
    )


if __name__ == "__main__":
    main()
