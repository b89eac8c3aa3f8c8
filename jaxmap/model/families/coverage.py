"""How much of the published map of 1,018 models the families cover."""

from __future__ import annotations

from jaxmap.model.families import FAMILIES, REFUSED

# Models of each type in the published list (Oyama et al. 2025, arXiv:2502.16173, model types).
PUBLISHED = {
    "llama": 571,
    "mistral": 232,
    "gpt_neox": 54,
    "deepseek": 26,
    "gptj": 19,
    "gemma": 18,
    "opt": 15,
    "bloom": 12,
    "falcon": 11,
    "qwen2": 10,
    "mixtral": 9,
    "mpt": 6,
    "stablelm": 6,
    "gpt_bigcode": 3,
    "gpt_neo": 3,
    "phi": 3,
    "phi3": 3,
    "rwkv": 3,
    "xglm": 3,
    "camelidae": 2,
    "codegen": 2,
    "olmo": 2,
    "starcoder2": 2,
    "deci": 1,
    "recurrent_gemma": 1,
    "stablelm_alpha": 1,
}


def table(find: str = "") -> str:
    """The families whose name contains `find`, their papers, their share of the published map."""
    width = max(map(len, FAMILIES))
    lines = [f"{'model type':{width}}  published  paper"]
    for kind, family in sorted(FAMILIES.items(), key=lambda item: item[0].lower()):
        count = PUBLISHED.get(kind, "")
        if find.lower() not in kind.lower():
            continue
        lines.append(f"{kind:{width}}  {count:>9}  {family.paper}")
    absent = {kind: n for kind, n in PUBLISHED.items() if kind not in FAMILIES}
    covered = sum(PUBLISHED.values()) - sum(absent.values())
    lines += ["", f"{covered:,} of {sum(PUBLISHED.values()):,} models of the published map"]
    for kind, count in absent.items():
        reason = REFUSED.get(kind, "not implemented yet")
        lines.append(f"  {kind} ({count}): {reason}")
    return "\n".join(lines) + "\n"
