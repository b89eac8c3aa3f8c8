"""The public functions: one for each command, with the parameters of its flags.

`import jaxmap` offers them all under the names that `jaxmap.__all__` lists; the command line calls
them and prints what they return. Each returns a `jaxmap.results.Result`: `to_dataframe()`,
`draw()`, `save(FOLDER)`, and a table where a notebook shows it.

- `scoring`: models to a store. score, sweep, floor, train_lens.
- `stores`: what a store holds. open_store, status, export, import_released, forget.
- `texts`: what models are scored on. texts, load_texts.
- `analyses`: from a store to tables, figures and a page. kl, write_kl, scale, diffusion, make_map,
  report, resample, place, pmi.
- `reproduction`: the published results from the authors' data. reproduce.
- `planning`: families, plan, bench.
- `demonstration`: demo.
"""
