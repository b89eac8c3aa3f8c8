"""What the name of a checkpoint says: organisation, family, size, seed, run, step and tokens.

The only parser of names. A checkpoint is named by a reference (`org/name`, `org/name/subfolder`, a
folder) and, where there is one, a revision (a branch, a tag, a subfolder). Training suites write
the same facts in many ways. One grammar covers them, applied to the revision or, where there is
none, to the last part of the reference:

1. A part that counts tokens: `tokens4B`, `token-1007B`, `240b_tokens`, `2BT`; a bare `3T` only
   directly after a step, or as a whole revision.
2. A part that counts steps: step, iteration, iter, checkpoint, ckpt, global_step or epoch with a
   number, which may end in k or M: `step1000`, `step-1431k`, `ckpt_358`, `iter_0001000`.
3. What is left names the run, among others of the same repository: `stage2-ingredient1`, `longctx`,
   `seed-default`.

The name of a repository is read with more caution than a revision, because `Step-3`, `SPIN-iter3`
and `Llama-2-7B` are finished models.

What names do not say, people may give: `Names` is the grammar with such facts before it.
"""

from jaxmap.naming.names import Name, parse, parse_run
from jaxmap.naming.run_facts import GRAMMAR, Names, RunFacts, names_of, read_runs_file
from jaxmap.naming.words import natural_key

__all__ = [
    "GRAMMAR",
    "Name",
    "Names",
    "RunFacts",
    "names_of",
    "natural_key",
    "parse",
    "parse_run",
    "read_runs_file",
]
