"""The shape of a trajectory: its length, its straightness, and whether it winds.

A trajectory is the coordinates x_ID of a run's checkpoints in order (`centre.coordinates`), in
which squared distances are KL in bits per byte; lengths are therefore in sqrt(bits/byte). It is a
polygon, since nothing is known between two saved checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxmap.stats.embed import leading_plane

DRAWS = 199  # Brownian paths; the smallest p-value is 1 / (DRAWS + 1)
TOGETHER = 50  # paths computed at a time; 10 MB for 150 checkpoints
BLOCK, ROUNDS = 8, 12  # vectors and rounds of the subspace iteration for their planes
CLOSE = 1e-7  # the error of the iteration that is tolerated, relative to the leading eigenvalue


class PathStatistics(NamedTuple):
    """Statistics of a polygon of I points.

    Fields:
      length: the sum over steps of the square root of their KL, sqrt(bits/byte).
      net_displacement: the square root of the KL from the first to the last point, sqrt(bits/byte).
      straightness: net_displacement / length, 0 (closed) to 1 (a straight line), without a unit;
        about 1 / sqrt(I - 1) for a Brownian path of equal steps. NaN for a path of length zero.
    """

    length: float
    net_displacement: float
    straightness: float


class Winding(NamedTuple):
    """How often a path goes around the mean of its points in its leading principal plane.

    Fields:
      turns: |sum of the signed angles between successive points, seen from the mean of all points|
        / 2 pi, in the plane of the two leading principal components of the path's own points.
      p_value: the share of Brownian paths, with the observed one counted among them, that wind at
        least as far: (1 + #{turns_null >= turns}) / (1 + draws). See `winding`.
      dimension: the dimension of the Brownian paths, estimated from the steps of the path.
      plane_variance: the share of the path's variance in that plane, 0 to 1.
      xy_I2: the path in the plane, sqrt(bits/byte).
    """

    turns: float
    p_value: float
    dimension: float
    plane_variance: float
    xy_I2: np.ndarray


def path_statistics(x_ID: np.ndarray) -> PathStatistics:
    """Length, net displacement and straightness of a path of I >= 1 points."""
    x_ID = np.asarray(x_ID, np.float64)
    length = float(np.linalg.norm(np.diff(x_ID, axis=0), axis=1).sum())
    net = float(np.linalg.norm(x_ID[-1] - x_ID[0]))
    return PathStatistics(length, net, net / length if length > 0 else float("nan"))


def turns_of(xy_I2: np.ndarray) -> float:
    """Full turns about the mean of the points, without sign; a point on the mean has no angle."""
    centred_I2 = xy_I2 - xy_I2.mean(axis=0)
    places_I = centred_I2[:, 0] + 1j * centred_I2[:, 1]
    places_I = places_I[places_I != 0]
    return float(abs(np.angle(places_I[1:] * places_I[:-1].conj()).sum()) / (2 * np.pi))


def winding(x_ID: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Winding | None:
    """The turns of a path, compared with Brownian paths with steps of the same lengths.

    The principal components of a Brownian path in many dimensions are cosines of increasing
    frequency and resemble a deliberate curve, so the null model must pass through the same
    projection. Its steps have the observed lengths, in order, and independent directions, uniform
    in D dimensions. D is estimated from the observed steps: S independent unit steps u have
    E[(u_i . u_j)^2] = 1/D for i != j. D is at least 2. If the observed steps are orthogonal to each
    other, D is infinite, and the steps of the null model are orthogonal too.

    Checkpoints with zero distance to the one before count as one point. Returns None for fewer than
    four points, since three are always on a circle.
    """
    x_ID = np.asarray(x_ID, np.float64)
    step_SD = np.diff(x_ID, axis=0)
    size_S = np.linalg.norm(step_SD, axis=1)
    moved = size_S > 0
    step_SD, size_S = step_SD[moved], size_S[moved]
    num_steps = len(size_S)
    if num_steps < 3:
        return None
    from threadpoolctl import threadpool_limits

    unit_SD = step_SD / size_S[:, None]
    cosine_SS = unit_SD @ unit_SD.T
    squares = float((cosine_SS**2).sum()) - num_steps
    dimension = num_steps * (num_steps - 1) / squares if squares > 0 else float("inf")
    dimension = max(2.0, min(dimension, float(np.shape(x_ID)[1])))
    xy_I2, value_2, total = project(cosine_SS * np.outer(size_S, size_S))
    turns = turns_of(xy_I2)
    rng = np.random.default_rng(seed)
    far = 0
    with threadpool_limits(limits=1):  # many small products, for which threads only wait
        for first in range(0, draws, TOGETHER):
            count = min(TOGETHER, draws - first)
            step_RSD = np.stack([_directions(rng, num_steps, dimension) for _ in range(count)])
            far += sum(turns_of(xy_I2) >= turns for xy_I2 in planes(step_RSD * size_S[:, None]))
    return Winding(turns, (1 + far) / (1 + draws), dimension, float(value_2.sum() / total), xy_I2)


def project(gram_SS: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The leading plane of a path, from the inner products of its steps."""
    size = len(gram_SS) + 1
    place_II = np.zeros((size, size))  # inner products of the points relative to the first
    place_II[1:, 1:] = gram_SS.cumsum(axis=0).cumsum(axis=1)
    place_II -= place_II.mean(axis=0)
    place_II -= place_II.mean(axis=1, keepdims=True)
    return leading_plane(place_II)


def planes(step_RSD: np.ndarray) -> Iterator[np.ndarray]:
    """`project` for many paths at once, from their steps: yields the positions [I, 2] of each.

    It uses subspace iteration: the spectrum of a Brownian path falls as 1 / k^2, so that a few
    rounds find its leading plane. A path for which they do not suffice is decomposed.
    """
    place_RID = np.zeros((len(step_RSD), step_RSD.shape[1] + 1, step_RSD.shape[2]))
    np.cumsum(step_RSD, axis=1, out=place_RID[:, 1:])
    place_RID -= place_RID.mean(axis=1, keepdims=True)
    gram_RII = place_RID @ place_RID.transpose(0, 2, 1)
    width = min(BLOCK, gram_RII.shape[1])
    basis_RIW = gram_RII @ np.random.default_rng(0).normal(size=(gram_RII.shape[1], width))
    for _ in range(ROUNDS):
        basis_RIW = gram_RII @ np.linalg.qr(basis_RIW)[0]
    basis_RIW = np.linalg.qr(basis_RIW)[0]
    image_RIW = gram_RII @ basis_RIW
    value_RW, turn_RWW = np.linalg.eigh(basis_RIW.transpose(0, 2, 1) @ image_RIW)
    value_R2 = np.maximum(value_RW[:, :-3:-1], 0.0)
    turn_RW2 = turn_RWW[:, :, :-3:-1]
    vector_RI2 = basis_RIW @ turn_RW2
    off_R = np.abs(image_RIW @ turn_RW2 - vector_RI2 * value_R2[:, None]).max(axis=(1, 2))
    for gram_II, vector_I2, value_2, off in zip(gram_RII, vector_RI2, value_R2, off_R, strict=True):
        if off <= CLOSE * value_2[0]:
            yield vector_I2 * np.sqrt(value_2)
        else:
            yield leading_plane(gram_II)[0]


def _directions(rng: np.random.Generator, num_steps: int, dimension: float) -> np.ndarray:
    """Independent uniform directions in (about) `dimension` dimensions, unit rows [S, <= S].

    If there are more dimensions than steps, the rows are the triangular factor of the Gram matrix
    of Gaussian vectors (Bartlett 1933), which has the same angles with far fewer numbers.
    """
    whole = round(dimension)
    if whole <= num_steps:
        drawn = rng.normal(size=(num_steps, whole))
    else:
        drawn = np.tril(rng.normal(size=(num_steps, num_steps)), k=-1)
        np.fill_diagonal(drawn, np.sqrt(rng.chisquare(whole - np.arange(num_steps))))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
