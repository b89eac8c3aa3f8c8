"""Conditional maps: what a prompt adds to a response."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, string


def _define_pmi(values: flags.FlagValues) -> None:
    string(values, "conditional", None, "The store scored on prompts and responses.")
    string(values, "unconditional", None, "The store scored on the same responses alone.")
    string(values, "out", None, "The store to write, made if it is not there.")


def _pmi(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import pmi

    found = pmi(values.conditional, values.unconditional, values.out)
    print(f"{len(found.store.records())} models in {values.out}, {found.added} of them new")
    return 0


COMMANDS = {
    "pmi": Command(
        "what prompts add: log p(response | prompt) - log p(response)",
        """Subtracts the scores of responses alone from those of the same responses after their
prompts, for every model that both stores hold (Takase et al., arXiv 2603.18593), and keeps the
differences, pointwise mutual information in nats, as a store of its own: kl, map, scale and report
work on it as on any other. The first token of a response has a score only after a prompt (or
after a BOS token): without either it adds to the difference. Stores know the number of the
responses and the bytes of each, which must agree, but not their words: that they are the same
responses is for you to see to. For a map of the conditional
distributions themselves use the store of prompts and responses as it is.

  jaxmap score --store=given --texts=pairs.jsonl --models=REF,REF      fields prompt and response
  jaxmap score --store=alone --texts=responses.jsonl --models=REF,REF  the responses as field text
  jaxmap pmi --conditional=given --unconditional=alone --out=pmi
  jaxmap map --store=pmi --out=map
""",
        _define_pmi,
        _pmi,
        required=("conditional", "unconditional", "out"),
    ),
}
