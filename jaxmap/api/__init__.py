"""The public functions: one for each command, with the parameters of its flags.

`import jaxmap` offers them all under the names that `jaxmap.__all__` lists; the command line calls
them and prints what they return. Each returns a `jaxmap.results.Result`: `to_dataframe()`,
`draw()`, `save(FOLDER)`, and a table where a notebook shows it.

- `corpus`: the texts that models are scored on. texts.
- `scoring`, `floors`, `lenses`: models to a store. score, sweep; floor; train_lens.
- `stores`: what a store holds. open_store, status, export, forget, import_released.
- `analyses`: from a store to tables, figures and a page. kl, write_kl, scale, diffusion, make_map,
  report, resample, place, pmi.
- `reproduction`: the published results from the authors' data. reproduce.
- `comparison`, `verification`: models compared with one another, and with PyTorch. compare, card;
  verify.
- `tokens`: kept log-probabilities of tokens, without their models. tokens.
- `planning`: what can be scored, where, how fast. families, plan, bench.
- `demonstration`: the whole way on models that are trained on the spot. demo.

`arguments` reads what users write for texts, models and stores; `run_options` and `outcomes` are
what the scoring functions share.
"""
