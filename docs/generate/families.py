"""The page of the site about the types of models that can be scored."""

from __future__ import annotations

from jaxmap.architectures import coverage

SCORED = """\
Scored is the language model inside, given text alone.

- Its settings are those of `text_config` (`thinker_config.text_config`, `llm_config` or the top
  level where files have them there); a key that the file leaves out has the default of
  transformers' class.
- Its tensors are found under the names of the released files and under those that releases of
  transformers give them.
- All other tensors (towers, projectors, decoders of speech) are left out: each must be known to
  belong to one of these parts, and a tensor that nothing claims is an error. They do not count in a
  record's bytes. An adapter in the same folder that is only active with pictures or sound is not
  applied.
"""


def page() -> str:
    """Tables of all types, in Markdown, from what `jaxmap families` prints."""
    every = coverage.rows()
    whole = [one for one in every if one["language_model"]]
    models = [one for one in every if not one["language_model"]]
    reasons = coverage.without_a_page()
    return "\n".join(
        [
            "# Types of models\n",
            "*Made from the code.* `jaxmap families` prints the same, with each type's largest "
            "differences from PyTorch; `jaxmap families --find=qwen` only the types whose name "
            "contains it. A type is the value of `model_type` in config.json.\n",
            f"- {len(models)} types of [language models](#models)",
            f"- {len(whole)} types of [checkpoints with pictures or sound](#whole) around one",
            f"- {sum(map(len, reasons.values()))} types of transformers "
            "[without a page](#refused), with the reasons\n",
            "## Language models { #models }\n",
            _table(("type", "layers", "paper"), [_row(one) for one in models]),
            "## Checkpoints with pictures or sound { #whole }\n",
            SCORED,
            _table(
                ("type", "language model inside", "paper"),
                [
                    (f"`{one['model_type']}`", f"`{one['language_model']}`", str(one["paper"]))
                    for one in whole
                ],
            ),
            "## Types without a page { #refused }\n",
            "`--engine=torch` can try these through transformers, which says itself what it "
            "cannot do.\n",
            _table(
                ("types", "reason"),
                [
                    (", ".join(f"`{kind}`" for kind in kinds), reason)
                    for reason, kinds in reasons.items()
                ],
            ),
        ]
    )


def _row(one: dict[str, object]) -> tuple[str, ...]:
    layers = " ".join(str(part) for part in (one["mixers"], one["mlps"]) if part)
    return f"`{one['model_type']}`", layers, str(one["paper"])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
