"""The statistics of tokens in NumPy float64, from the logits of the whole vocabulary."""

from __future__ import annotations

import numpy as np


def log_softmax_64(logits_NV):
    top_N1 = logits_NV.max(-1, keepdims=True)
    return logits_NV - top_N1 - np.log(np.exp(logits_NV - top_N1).sum(-1, keepdims=True))


def oracle(logp_NV, target_N, reference_NV=None):
    """Every statistic in float64, from all log-probabilities."""
    each_N = np.arange(len(target_N))
    top_N = logp_NV.argmax(-1)
    found = {
        "log_likelihood": logp_NV[each_N, target_N],
        "entropy": -(np.exp(logp_NV) * logp_NV).sum(-1),
        "target_rank": 1 + (logp_NV > logp_NV[each_N, target_N][:, None]).sum(-1),
        "top_token": top_N,
        "top_is_target": top_N == target_N,
    }
    if reference_NV is not None:
        V = min(logp_NV.shape[-1], reference_NV.shape[-1])
        p_NV, q_NV = log_softmax_64(reference_NV[:, :V]), log_softmax_64(logp_NV[:, :V])
        five = [{*row.argsort()[-5:]} for row in (*p_NV, *q_NV)]
        whole_NV = log_softmax_64(reference_NV)
        found |= {
            "token_kl": (np.exp(p_NV) * (p_NV - q_NV)).sum(-1),
            "token_kl_reverse": (np.exp(q_NV) * (q_NV - p_NV)).sum(-1),
            "same_top_token": q_NV.argmax(-1) == p_NV.argmax(-1),
            "same_top_5": [len(a & b) for a, b in zip(five, five[len(p_NV) :], strict=False)],
            **{
                f"{of}likeliest{what}": value
                for of, logp_NV in (("", q_NV), ("reference_", p_NV))
                for what, value in five_of(logp_NV).items()
            },
            "mass_outside": np.exp(logp_NV[:, V:]).sum(-1),
            "reference_log_likelihood": whole_NV[each_N, target_N],
            "reference_entropy": -(np.exp(whole_NV) * whole_NV).sum(-1),
            "reference_top_probability": np.exp(whole_NV.max(-1)),
            "reference_mass_outside": np.exp(whole_NV[:, V:]).sum(-1),
        }
    return found


def five_of(logp_NV):
    id_NK = np.argsort(-logp_NV, axis=-1, kind="stable")[:, :5]
    return {"": id_NK, "_log_probability": np.take_along_axis(logp_NV, id_NK, -1)}
