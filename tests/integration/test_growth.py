"""What must not grow: time a text with texts, programs with layers, memory with a store."""

from __future__ import annotations

import statistics
import time
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from support.checkpoints import NEOX, make_checkpoint
from support.stores import record, texts
from support.token_sets import make_tokens

from jaxmap.analysis.kl_files import write_kl, write_kl_matrix
from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.engine.callbacks import Callbacks
from jaxmap.engine.readout import read
from jaxmap.engine.scorer import Scorer, Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.engine.statistics import STATISTICS
from jaxmap.engine.unembedding import Reference, Unembedding
from jaxmap.model import decoder
from jaxmap.stats import divergence
from jaxmap.stats.divergence import kl_strips
from jaxmap.store import Store
from jaxmap.store.export import export
from jaxmap.sweeps.resume import UnfinishedScores


def random_tokens(count):
    random = np.random.default_rng(0)
    return make_tokens([random.integers(0, 64, n) for n in random.integers(15, 35, count)])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    return weights.load(make_checkpoint(folder, NEOX, vocab_size=64), dtype="float32")


def peak_of(work) -> int:
    """Bytes of Python's and NumPy's memory that a call takes at most."""
    work()  # what is made once, such as compiled programs and imports
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


# Texts ------------------------------------------------------------------------------------------


def test_a_text_takes_as_long_in_a_large_set(model, tmp_path):
    scorer = Scorers().of(model)
    few, many = random_tokens(500), random_tokens(5000)

    def seconds(tokens, saves):
        unfinished = UnfinishedScores(tmp_path / "partial.npz", {}, saves)
        started = time.process_time()
        score_tokens(scorer, model, tokens, callbacks=Callbacks(unfinished))
        return (time.process_time() - started) / len(tokens)

    seconds(few, 60)  # compiles
    seconds(many, 60)
    ratios = [seconds(many, 60) / min(seconds(few, 60) for _ in range(3)) for _ in range(3)]
    assert statistics.median(ratios) < 1.5, ratios


def test_memory_of_a_text_is_its_scores_and_its_place(model):
    scorer = Scorers().of(model)

    def taken(count):
        tokens = random_tokens(count)
        return peak_of(lambda: score_tokens(scorer, model, tokens))

    # Bytes; a text's arrays of a batch would be 5 x 4 x 25 more.
    assert (taken(2500) - taken(500)) / 2000 < 400


# Layers and vocabulary --------------------------------------------------------------------------


def program(lens, **changes):
    config = {**NEOX, **changes}
    spec = spec_of(Config(config, "test"))
    graph, shapes = decoder.abstract(spec)
    scorer = Scorer(graph, vocabulary_block=64)
    return scorer.trace_shape(shapes, 2, 128, lens=lens).lower(), scorer


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
@pytest.mark.parametrize("lens", [False, True])
def test_programs_do_not_grow_with_depth(family, lens):
    extra = {} if family == "gpt_neox" else {"num_key_value_heads": 1}
    sizes = []
    for layers in (4, 64):
        lowered, scorer = program(lens, model_type=family, num_hidden_layers=layers, **extra)
        assert scorer.compilations == 1
        sizes.append(lowered.as_text().count("\n"))
    assert sizes[1] <= sizes[0] + 2


@pytest.mark.parametrize("statistics", [("log_likelihood",), tuple(STATISTICS)], ids=len)
@pytest.mark.parametrize("adjusted", [False, True])
def test_the_readouts_memory_is_a_blocks_whatever_the_vocabulary(adjusted, statistics):
    import jax

    def compiled(V):
        shapes = [((256, 32), jnp.float32), ((V, 32), jnp.float32), ((256,), jnp.int32)]
        given = [jax.ShapeDtypeStruct(*one) for one in shapes]
        adjust = (lambda x, bias: 30 * jnp.tanh(x / 30)) if adjusted else (lambda x, bias: x)

        @jax.jit
        def readout(hidden_ND, head_VD, target_N):
            head = Unembedding(head_VD, adjust=adjust)
            reference = Reference(hidden_ND[::-1], head)
            return read(hidden_ND, head, target_N, statistics, block=4096, reference=reference)

        return readout.lower(*given).compile().memory_analysis().temp_size_in_bytes

    usual, large, odd = (compiled(V) for V in (50_304, 262_144, 262_139))
    logits = 256 * 4096 * 4
    assert large <= 1.1 * usual
    assert odd <= 1.1 * usual
    # Each statistic of all may hold a block, whatever the vocabulary.
    assert logits / 2 < usual < (4 if len(statistics) == 1 else 8) * logits


# A store ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("store") / "store", 160, 2000)


def fill(path, num_models, num_texts):
    of = texts(num_texts)
    filled = Store.create(path, of)
    filled.add_many(record(of, "org/run", f"step{k}") for k in range(num_models))
    return filled


@pytest.mark.parametrize("ending", ["npz", "csv", "nc"])
def test_export_streams(store, tmp_path, ending):
    whole = 160 * 2000 * 16
    taken = peak_of(lambda: export(Store.open(store.path), tmp_path / f"out.{ending}"))
    assert taken < whole / 4


@pytest.mark.parametrize("form", ["csv", "npy"])
def test_kl_streams(store, tmp_path, monkeypatch, form):
    monkeypatch.setitem(kl_strips.__kwdefaults__, "tile", 16)
    monkeypatch.setattr(divergence, "TEXTS", 64)
    write = {"csv": write_kl, "npy": write_kl_matrix}[form]
    whole = 160 * 2000 * 8
    assert peak_of(lambda: write(Store.open(store.path), tmp_path / f"kl.{form}")) < whole / 2


def opening(path):
    def seconds():
        started = time.process_time()
        Store.open(path).records()
        return time.process_time() - started

    return min(seconds() for _ in range(3))


def test_a_record_takes_as_long_to_open_in_a_large_store(store, tmp_path):
    few = fill(tmp_path / "few", 20, 2000)
    assert opening(store.path) / 160 < 2 * opening(few.path) / 20


@pytest.mark.slow
def test_a_store_of_twenty_million_scores_opens_at_once(tmp_path):
    assert opening(fill(tmp_path / "large", 2000, 10_000).path) < 2
