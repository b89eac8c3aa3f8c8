"""Models to a store: score and sweep."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxmap import naming
from jaxmap.api.arguments import (
    Models,
    Names,
    Path,
    StoreLike,
    Texts,
    check_new_store,
    models_of,
    names_of,
    open_for_writing,
    texts_of,
)
from jaxmap.api.outcomes import Scored
from jaxmap.api.run_options import Job, of_the_run, shard_of
from jaxmap.naming import GRAMMAR, read_runs_file
from jaxmap.store import Store
from jaxmap.variant import JAX

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jaxmap.checkpoint.refs import Ref
    from jaxmap.corpus.texts import TextSet
    from jaxmap.sweeps.config_schema import SweepConfig
    from jaxmap.sweeps.settings import Settings


def score(
    models: Models | None,
    texts: Texts,
    store: StoreLike,
    *,
    models_file: Path | None = None,
    runs_file: Path | None = None,
    dtype: str = "auto",
    engine: str = "jax",
    lens: bool | str = False,
    quantize: Names = ("none",),
    statistics: Names = ("log_likelihood",),
    keep_tokens: bool = False,
    weight_distance: int = 0,
    batch_tokens: int | None = None,
    ignore_config_keys: Names = (),
    save_every: float = 60.0,
    cache_budget: int | str | None = None,
    batch: str | None = None,
    shard_index: int = 0,
    shard_count: int = 1,
    mesh: str | None = None,
    distributed: bool = False,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    command: str = "",
) -> Scored:
    """Scores every text under each model and keeps one record per model in a store.

    What the store holds already is not computed again, so an interrupted call is resumed by
    calling it again. A model that cannot be scored does not stop the others and does not raise:
    its reason is in `failures` of the result and in the store. Call `raise_for_failures()` on the
    result where an exception is wanted.

    Args:
      models: one reference or several: "org/name", "org/name@revision", a folder,
        "folder@step1000". In strings commas separate and braces expand:
        "org/name@step{0,1,1000:143001:1000}". `*`, `?` and `[...]` match the branches, tags and
        subfolders that there are: "org/name@*", "org/name@stage1-*"; or repositories:
        "org/name-*@step1000". None: only those of `models_file`.
      texts: a file (.jsonl, .json, .txt, also .gz or .zst), a text set of `load_texts`, or a list
        of strings or of (prompt, response) pairs, of which only the responses are scored.
      store: a folder, made if it is not there. It belongs to one set of texts.
      models_file: a file with more references: a JSON list, or one a line, where # begins a
        comment.
      runs_file: a .toml or .json file of what names do not say of training runs (docs/runs.md);
        the store keeps it.
      dtype: the arithmetic. "float32": all of it, with weights held as stored. "bfloat16",
        "float16": weights and activations. "bfloat16_3x": as float32, but products in three
        bfloat16 passes. "auto": float32 on CPU, as stored on GPU, bfloat16_3x on TPU.
      engine: "jax": this package's decoder, for the types that `families` lists. "torch":
        transformers on PyTorch, for any causal model that it knows; slower, on one device, in
        float32 unless `dtype` says otherwise. Its results are marked +torch.
      lens: whether to score every layer too. True or "logit": through the model's own norm and
        head. "tuned:FOLDER": through the lenses that `train_lens` keeps in FOLDER.
      quantize: which copies to score: "none" is the model itself; "int8", "nf4" and "fp4" have
        their linear layers in 8 or 4 bit. Each is a result of its own.
      statistics: what to keep of every text beside its log-likelihood: "entropy", and with the
        prefix "token_" the values of every token. Only what the store lacks is computed.
      keep_tokens: keep the log-probability of every token, in 16 bits: 2 bytes a token, about 5 MB
        a model for 10,000 texts of 1 KB. `tokens` says what can be had of it without the model.
      weight_distance: how many earlier checkpoints of the same run to measure the distance in
        weight space to (10 as published); 0: none.
      batch_tokens: tokens per batch, or per part of it that a group of devices gets; None: a
        default for the device.
      ignore_config_keys: keys of config.json that you know to have no effect on the logits.
      save_every: seconds between two saves of a model's unfinished scores; 0: after every batch.
      cache_budget: the most downloaded weights to keep, as "200GB"; an int is in bytes. What was
        scored is deleted when space is needed, but never what was in the cache before. None: no
        limit.
      batch: "auto": as many tokens per batch as memory holds, found by compiling ahead of time.
      shard_index, shard_count: which share of the models to do, from 0, of how many.
      mesh: devices per axis, as "data=4,model=2", or "auto"; None: one device where there is one,
        else "auto".
      distributed: whether this is one of several processes that score each model together, as JAX
        finds out by itself (srun, TPU pods, GKE, Open MPI).
      coordinator_address, num_processes, process_id: the same where JAX cannot find out:
        host:port of the first process, how many there are, and which one this is.
      command: what somebody types to do the same again, which `status` shows; "": nothing.

    Raises InputError for a parameter, texts or a store that cannot be used, and JaxmapError where
    the store cannot be written.
    """
    from jaxmap.lens.tuned_lens import parse_lens
    from jaxmap.sweeps.settings import Settings

    lenses = parse_lens(lens) if isinstance(lens, str) else {"lens": bool(lens)}
    refs = models_of(models, models_file, find_them=False)
    settings = Settings(
        dtype=dtype,
        engine=engine,
        **lenses,
        quantize=names_of(quantize),
        statistics=names_of(statistics),
        keep_tokens=keep_tokens,
        weight_distance=weight_distance,
        batch_tokens=batch_tokens,
        ignore_config_keys=names_of(ignore_config_keys),
        **of_the_run(save_every, cache_budget, mesh, batch),
    )
    shard = shard_of(shard_index, shard_count)
    names = GRAMMAR if runs_file is None else read_runs_file(runs_file)
    text_set = texts_of(texts)
    job = Job(distributed, coordinator_address, num_processes, process_id)
    return _run(refs, names, 0, text_set, store, settings, shard, job, command)


def sweep(
    config: Path | Mapping[str, Any] | ConfigDict | SweepConfig,
    store: StoreLike,
    *,
    statistics: Names | None = None,
    keep_tokens: bool = False,
    engine: str | None = None,
    save_every: float = 60.0,
    cache_budget: int | str | None = None,
    batch: str | None = None,
    shard_index: int = 0,
    shard_count: int = 1,
    mesh: str | None = None,
    distributed: bool = False,
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    command: str = "",
) -> Scored:
    """Scores all models of a config, in any number of processes that share a store.

    Every checkpoint is downloaded and loaded once for all that is asked of it (scores, layers,
    quantised copies, weight distances), and the next ones are fetched meanwhile. Failures are
    returned, as by `score`.

    Args:
      config: "configs/NAME.py" or "configs/NAME.py:VARIANT", a file with a function
        `get_config()`; or its fields, as `jaxmap.sweeps.config_schema.SweepConfig` lists them.
      statistics, engine: as of `score`; None: what the config says.
      keep_tokens: as of `score`; the config may ask for it as well.
      store, save_every, cache_budget, batch, shard_index, shard_count, mesh, distributed,
        coordinator_address, num_processes, process_id, command: as of `score`.

    Raises InputError for a field, file or parameter that cannot be used, and JaxmapError where the
    store cannot be written.
    """
    from jaxmap.sweeps.config_schema import SweepConfig, load_config, read_config

    if isinstance(config, str | os.PathLike):
        where = f"config={os.fspath(config)}"
        config = read_config(dict(load_config(os.fspath(config))), where)
    elif not isinstance(config, SweepConfig):
        config = read_config(dict(config), "config")
    refs, names = config.refs(), config.names()
    settings = config.settings_with(**of_the_run(save_every, cache_budget, mesh, batch))
    if statistics is not None:
        settings = dataclasses.replace(settings, statistics=names_of(statistics))
    if keep_tokens:
        settings = dataclasses.replace(settings, keep_tokens=True)
    if engine is not None:
        settings = dataclasses.replace(settings, engine=engine)
    shard = shard_of(shard_index, shard_count)
    text_set = texts_of(config.texts, config.limit or None)
    job = Job(distributed, coordinator_address, num_processes, process_id)
    return _run(refs, names, config.every, text_set, store, settings, shard, job, command)


def _run(
    refs: list[Ref],
    names: naming.Names,
    every: int,
    texts: TextSet,
    store: StoreLike,
    settings: Settings,
    shard: tuple[int, int],
    job: Job,
    command: str,
) -> Scored:
    from jaxmap.checkpoint.listing import Lookup, find, thinned
    from jaxmap.store.listings import read_listings, write_listings

    check_new_store(store)
    path = store.path if isinstance(store, Store) else store
    lookup = Lookup({name: one.revisions for name, one in read_listings(path).items()})
    # Last of what may be refused: it may ask the Hub.
    refs = thinned(find(refs, lookup), every, names)
    opened = open_for_writing(store, texts)
    opened.describe_runs(names)
    write_listings(opened.path, lookup.found)
    from jaxmap import runtime

    runtime.prepare()
    if settings.engine != JAX:
        runtime.keep_off_accelerators()
    job.join()
    runtime.check_platform()
    from jaxmap.sweeps.run import score_models, told_to_stop

    with told_to_stop() as stop:
        outcome = score_models(
            refs, texts, opened, settings, shard=shard, stop=stop, command=command
        )
    return Scored(opened, outcome)
