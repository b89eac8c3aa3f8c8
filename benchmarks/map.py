"""Pairwise KL of all models against what people would use: time, memory, error, in one run.

    python benchmarks/map.py [--models=1018] [--texts=10000] [--repeats=3]

Peers compute squared Euclidean distances of the doubly centred vectors, which is the same table up
to a factor. Near-identical pairs are planted (a tenth of the models is a copy of another plus
noise, down to KL of 1e-8 bits per byte), and errors are against differences in float64, over those
and a thousand others. Each contender is run in its own process, in turn, `repeats` times; time is
the least, memory the process's peak beyond the matrix that it is given.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
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
    from jaxmap.map.divergence import kl_KK

    return lambda: kl_KK(ll_KN, MEAN_BYTES, errors=False).kl


def jaxmap_with_errors(ll_KN):
    from jaxmap.map.divergence import kl_KK

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1018)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
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
    ratio = best["scikit-learn, float64"] / best["jaxmap"]
    print(f"scikit-learn float64 / jaxmap: {ratio:.2f}")


if __name__ == "__main__":
    main()
