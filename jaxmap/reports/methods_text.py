"""The methods paragraph of the published recipe."""

from __future__ import annotations

# Plain text.
PUBLISHED = (
    "KL is the population variance over texts of the difference of two log-likelihood vectors, "
    "divided by 2 B ln 2, with B the mean bytes of the texts, in float64. Training runs: "
    "410m-seed3, 410m-seed4 and step 116,000 of 1b are left out; then, for each group of runs by "
    "itself, scores below the 2 % quantile of all are raised to it, the 3 % of texts with the "
    "largest change between neighbouring checkpoints from step 2,000 on are dropped, and B is that "
    "of the texts kept. Later and early are the last and the first 50 pairs of checkpoints 1,000 "
    "steps apart that end after step 2,000, of each of the five sizes; seed and size are all pairs "
    "at the last common step. Quantised copies and layers are compared as released, and B is that "
    "of all texts. ft: children with one parent, and a type; intra-type and random: pairs drawn by "
    "Python's random.Random(0) as the authors drew them. Diffusion exponents are slopes of "
    "ordinary least squares of log distance on log lag over the ten checkpoints after each start "
    "from step 1,000 on. Maps are t-SNE (scikit-learn, init pca, learning rate auto, random state "
    "42, perplexity 30, for parents and children 20) of doubly centred vectors. Standard errors "
    "have the texts as the sample."
)
