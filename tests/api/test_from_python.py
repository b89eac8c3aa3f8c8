"""Each command that scores or reads a store, from Python and from the shell, on the same input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import GPT2, TEXTS, caches, make_checkpoint, write_texts
from support.checkpoints import jaxmap as shell

import jaxmap
from jaxmap.benchmarking.report import BenchmarkReport
from jaxmap.benchmarking.speed import SpeedRow
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError, JaxmapError


@pytest.fixture(autouse=True)
def own_caches(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", caches())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two checkpoints of a run, another model, and texts."""
    folder = tmp_path_factory.mktemp("made")
    for step in (0, 1):
        make_checkpoint(folder / "run" / f"step{step}", seed=step)
    make_checkpoint(folder / "gpt2", GPT2)
    write_texts(folder / "texts.jsonl")
    return folder


@pytest.fixture(scope="module")
def scored(made, tmp_path_factory):
    """A store made by the shell, with everything that `score` can be asked for."""
    folder = tmp_path_factory.mktemp("scored")
    ran = shell(
        "score", f"--store={folder}/store", f"--texts={made}/texts.jsonl",
        f"--models={made}/run@step{{0,1}},{made}/gpt2", "--lens", "--quantize=none,int8",
        "--weight_distance=1",
    )  # fmt: skip
    assert ran.code == 0, ran
    return folder / "store"


def matrix(store: Path) -> dict[str, np.ndarray]:
    """The scores of a store by label."""
    data = jaxmap.open_store(store).dataset()
    return dict(zip(data.model.values.tolist(), data.log_likelihood.values, strict=True))


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[k], other[k]) for k in one)


def test_score(made, scored, tmp_path):
    models = [f"{made}/run@step{{0,1}}", made / "gpt2"]
    options = dict(lens=True, quantize=["none", "int8"], weight_distance=1)
    first = jaxmap.score(models, made / "texts.jsonl", tmp_path / "store", **options)
    assert (len(first.scored), first.found, first.failures, first.stopped) == (6, (), (), False)
    assert same(matrix(tmp_path / "store"), matrix(scored))
    second = jaxmap.score(models, TEXTS, str(tmp_path / "store"), **options)
    assert (second.scored, set(second.found)) == ((), set(first.scored))
    again = shell(
        "score", f"--store={tmp_path}/store", f"--texts={made}/texts.jsonl", "--lens",
        f"--models={models[0]},{models[1]}", "--quantize=none,int8", "--weight_distance=1",
    )  # fmt: skip
    assert again.out == second.text()
    assert list(second.to_dataframe().columns) == ["model", "state", "reason"]
    assert [path.name for path in second.save(tmp_path / "out")] == ["scored.csv"]
    assert "already done" in second.text()
    assert "gpt2" in second._repr_html_()
    assert second.store.dataset().sizes["text"] == len(TEXTS)


def test_texts_as_users_have_them(made, tmp_path):
    """A path, a text set, strings, rows, an array: all the same texts, so all the same store."""
    model = made / "gpt2"
    file = made / "texts.jsonl"
    for texts in (
        file,
        str(file),
        jaxmap.load_texts(file),
        list(TEXTS),
        np.array(TEXTS, object),
        (text for text in TEXTS),
        [{"text": text} for text in TEXTS],
    ):
        result = jaxmap.score(model, texts, tmp_path / "store")
        assert not result.failures
    assert len(matrix(tmp_path / "store")) == 1
    pairs = [("One", " two."), ("Three", " four five.")]
    jaxmap.score(str(model), pairs, tmp_path / "pairs")
    rows = TextSet((" two.", " four five."), ("One", "Three"))
    assert jaxmap.open_store(tmp_path / "pairs").texts.fingerprint == rows.fingerprint


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts: there are none"),
        ([1], "texts: item 1 is neither a string nor a pair"),
        (["a", ("b", "c")], "texts: some have a prompt"),
        (3, "texts: 3 is not a list of texts"),
        ([{"prompt": "x"}], "`prompt` alone"),
    ],
)
def test_texts_that_are_none(made, tmp_path, texts, message):
    with pytest.raises(InputError, match=message):
        jaxmap.score(made / "gpt2", texts, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_parameters_that_cannot_be_name_themselves_without_dashes(made, tmp_path):
    for options, message in (
        ({"dtype": "float8"}, r"^dtype: 'float8' is unknown"),
        ({"quantize": "int3"}, r"^quantize: 'int3' is unknown"),
        ({"lens": "tuned"}, r"^lens: 'tuned' is neither"),
        ({"mesh": "x=1"}, r"^mesh=x=1: 'x=1' is not understood"),
        ({"shard_index": 3}, r"^shard_index=3: of `shard_count=1`"),
        ({"cache_budget": "much"}, r"^cache_budget: 'much' is not a size"),
        ({"batch": "all"}, r"^batch: 'all' is unknown"),
    ):
        with pytest.raises(InputError, match=message):
            jaxmap.score(made / "gpt2", TEXTS, tmp_path / "store", **options)
        flags = [f"--{name}={value}" for name, value in options.items()]
        ran = shell("score", f"--store={tmp_path}/s", f"--texts={made}/texts.jsonl",
                    f"--models={made}/gpt2", *flags)  # fmt: skip
        assert ran.code == 2
        assert f"--{next(iter(options))}" in ran.err.partition(":")[2], ran.err
    for models in ([], 3, [3]):
        with pytest.raises(InputError, match=r"^models: "):
            jaxmap.score(models, TEXTS, tmp_path / "store")


def test_failures_are_returned_and_raised_when_asked(made, tmp_path):
    result = jaxmap.score([made / "none", made / "gpt2"], TEXTS, tmp_path / "store")
    [failure] = result.failures
    assert "no such folder" in failure.reason
    assert len(result.scored) == 1
    assert result.to_dataframe().state.tolist() == ["scored", "failed"]
    with pytest.raises(InputError, match="no such folder"):
        result.raise_for_failures()
    jaxmap.score(made / "gpt2", TEXTS, tmp_path / "store").raise_for_failures()


def test_a_thread_scores_too(made, tmp_path):
    """Widgets and servers call from threads, where no signal can be caught."""
    results = []

    def work():
        results.append(jaxmap.score(made / "gpt2", TEXTS, tmp_path / "store"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results[0].scored) == 1


def test_sweep(made, tmp_path):
    fields = dict(models=[f"{made}/run@step{{0,1}}"], texts=str(made / "texts.jsonl"))
    (tmp_path / "config.py").write_text(
        "from jaxmap.sweeps.config_schema import config_dict\n"
        f"def get_config():\n    return config_dict(**{fields!r})\n"
    )
    ran = shell("sweep", f"--config={tmp_path}/config.py", f"--store={tmp_path}/shell")
    assert ran.code == 0, ran
    one = jaxmap.sweep(tmp_path / "config.py", tmp_path / "file")
    other = jaxmap.sweep(fields, tmp_path / "fields")
    assert one.text() == other.text() == ran.out
    assert same(matrix(tmp_path / "shell"), matrix(tmp_path / "file"))
    assert same(matrix(tmp_path / "shell"), matrix(tmp_path / "fields"))
    with pytest.raises(InputError, match=r"^config=none.py: no such file"):
        jaxmap.sweep("none.py", tmp_path / "store")
    with pytest.raises(InputError, match=r"unknown field 'model'; did you mean models\?"):
        jaxmap.sweep({"model": "x"}, tmp_path / "store")


def test_status(scored, tmp_path, capsys):
    report = jaxmap.status(scored)
    assert report.text() == shell("status", f"--store={scored}").out
    assert report.complete
    assert set(report.to_dataframe().state) == {"done"}
    watched = jaxmap.status(jaxmap.open_store(scored), watch=0.2)
    assert watched.done == report.done
    assert "all done" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"^watch=0: seconds"):
        jaxmap.status(scored, watch=0)


@pytest.mark.parametrize("ending", [".npz", ".csv", ".nc"])
def test_export(scored, tmp_path, ending):
    ran = shell("export", f"--store={scored}", f"--out={tmp_path}/shell{ending}")
    exported = jaxmap.export(scored, out=tmp_path / f"python{ending}")
    assert exported.text() == ran.out.replace("shell", "python")
    if ending != ".nc":  # HDF5 writes times
        files = [tmp_path / f"{name}{ending}" for name in ("shell", "python")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert len(exported.to_dataframe()) == len(matrix(scored))
    assert exported.save(tmp_path / "copies") == [tmp_path / "copies" / f"python{ending}"]
    with pytest.raises(InputError, match="give one of them"):
        jaxmap.export(scored)


def test_the_released_layout_and_back(scored, tmp_path):
    ran = shell("export", f"--store={scored}", f"--released={tmp_path}/shell")
    written = jaxmap.export(scored, released=tmp_path / "python")
    assert written.text() == ran.out.replace(f"{tmp_path}/shell", f"{tmp_path}/python")
    ran = shell("import", f"--released={tmp_path}/shell", f"--store={tmp_path}/one")
    read = jaxmap.import_released(tmp_path / "python", tmp_path / "other")
    assert read.text() == ran.out
    assert same(matrix(tmp_path / "one"), matrix(tmp_path / "other"))
    assert "in the store" in set(read.to_dataframe().state)


def test_texts(tmp_path):
    (tmp_path / "a.md").write_text("Some words of a document. " * 40)
    ran = shell(
        "texts", f"--source={tmp_path}", f"--out={tmp_path}/t.jsonl", "--n=3", "--max_bytes=64",
        "--min_bytes=8",
    )  # fmt: skip
    drawn = jaxmap.texts(tmp_path, n=3, max_bytes=64, min_bytes=8)
    assert drawn.text() == f"3 texts from {tmp_path}\n"
    [path] = drawn.save(tmp_path / "out")
    assert path.read_bytes() == (tmp_path / "t.jsonl").read_bytes()
    again = jaxmap.texts(
        str(tmp_path), out=tmp_path / "t.jsonl", n=3, max_bytes=64, min_bytes=8, overwrite=True
    )
    assert again.text() == ran.out
    assert drawn.to_dataframe().text.tolist() == list(again.text_set.texts)
    assert jaxmap.load_texts(tmp_path / "t.jsonl").fingerprint == drawn.text_set.fingerprint


def test_texts_are_scored_as_they_were_drawn(made, tmp_path):
    drawn = jaxmap.texts("stdlib", n=4, max_bytes=80, min_bytes=20)
    result = jaxmap.score(made / "gpt2", drawn, tmp_path / "store")
    assert result.store.texts.fingerprint == drawn.text_set.fingerprint


def test_floor(made, tmp_path):
    ran = shell(
        "floor", f"--store={tmp_path}/shell", f"--texts={made}/texts.jsonl", "--dtypes=bfloat16",
        f"--models={made}/gpt2", f"--out={tmp_path}/floor.csv",
    )  # fmt: skip
    found = jaxmap.floor(made / "gpt2", TEXTS, tmp_path / "store", dtypes="bfloat16")
    assert found.text() == ran.out
    [path] = found.save(tmp_path / "out")
    assert path.read_text() == (tmp_path / "floor.csv").read_text()
    assert found.to_dataframe().dtype.tolist() == ["bfloat16"]
    assert not found.failures


def test_compare(made, tmp_path):
    reference, model = f"{made}/run@step0", f"{made}/run@step1"
    ran = shell(
        "compare", f"--store={tmp_path}/store", f"--texts={made}/texts.jsonl",
        f"--reference={reference}", f"--models={model}", "--quantize=none,int8",
        f"--out={tmp_path}/shell",
    )  # fmt: skip
    assert ran.code == 0, ran
    found = jaxmap.compare(
        model, TEXTS, tmp_path / "python", reference=reference, quantize=["none", "int8"]
    )
    found.raise_for_failures()
    found.save(tmp_path / "out")
    table = (tmp_path / "out" / "compare.csv").read_bytes()
    assert table == (tmp_path / "shell" / "compare.csv").read_bytes()
    assert len(found.to_dataframe()) == 2


def test_verify(made, tmp_path):
    pytest.importorskip("torch")
    options = {"n": 2, "double": 1}
    ran = shell(
        "verify", f"--models={made}/gpt2", f"--texts={made}/texts.jsonl",
        f"--out={tmp_path}/shell.csv", *(f"--{name}={value}" for name, value in options.items()),
    )  # fmt: skip
    assert ran.code == 0, ran
    found = jaxmap.verify(made / "gpt2", TEXTS, out=tmp_path / "python.csv", **options)
    assert (tmp_path / "python.csv").read_bytes() == (tmp_path / "shell.csv").read_bytes()
    assert len(found.to_dataframe()) == 2 * (1 + 3)  # the output; the embedding and two layers


def test_train_lens(made, tmp_path):
    texts = [text * 3 for text in TEXTS if len(text) > 5]
    write_texts(tmp_path / "texts.jsonl", texts)
    ran = shell(
        "lens", "train", f"--models={made}/gpt2", f"--texts={tmp_path}/texts.jsonl", "--steps=2",
        f"--out={tmp_path}/shell", "--held_out=0.4",
    )  # fmt: skip
    lenses = jaxmap.train_lens(made / "gpt2", texts, tmp_path / "python", steps=2, held_out=0.4)
    assert lenses.text() == ran.out.replace(f"{tmp_path}/shell", f"{tmp_path}/python")
    table = lenses.to_dataframe()
    assert table.layer.tolist() == [0, 1]
    result = jaxmap.score(made / "gpt2", TEXTS, tmp_path / "store", lens=f"tuned:{tmp_path}/python")
    assert not result.failures
    failed = jaxmap.train_lens(made / "none", texts, tmp_path / "python", steps=2)
    assert [name for name, _ in failed.failures] == [f"{made}/none"]
    with pytest.raises(JaxmapError, match="no such folder"):
        failed.raise_for_failures()


def test_families(tmp_path):
    found = jaxmap.families(find="qwen")
    as_flags = found.text().replace("`engine=torch`", "--engine=torch")
    assert as_flags == shell("families", "--find=qwen").out
    assert found.to_dataframe().model_type.str.contains("qwen").all()
    [path] = found.save(tmp_path)
    assert path.read_text().startswith("model_type,models,mixers")


def without_memory(text: str) -> list[str]:
    """Without the line about what is free on this machine now."""
    return [line for line in text.splitlines() if not line.startswith("memory")]


def test_plan(made, tmp_path):
    ran = shell("plan", f"--model={made}/gpt2", "--nolargest_batch", f"--out={tmp_path}/p.jsonl")
    found = jaxmap.plan(made / "gpt2", largest_batch=False)
    assert (without_memory(found.text()), 0) == (without_memory(ran.out), ran.code)
    [path] = found.save(tmp_path / "out")
    lines = [json.loads(file.read_text()) for file in (path, tmp_path / "p.jsonl")]
    assert lines[0] | {"limit": 0} == lines[1] | {"limit": 0}
    assert found.to_dataframe().loc[0, "num_devices"] == found.num_devices


def test_bench(tmp_path, monkeypatch):
    asked = []

    def measure(shapes, **options):
        asked.append((list(shapes), options))
        rows = [SpeedRow("14m", "jaxmap", 100.0, 10.0, 1.0, 2.0, 0.5, 0.0)]
        return BenchmarkReport({"device": "cpu", "cores": 2}, options, rows)

    monkeypatch.setattr("jaxmap.benchmarking.speed.measure", measure)
    ran = shell("bench", "--shapes=14m", "--n=2", "--repeats=1", f"--out={tmp_path}/b.json")
    found = jaxmap.bench(shapes="14m", n=2, repeats=1)
    assert asked[0] == asked[1]
    assert found.text() == ran.out
    path, table = found.save(tmp_path / "out")
    assert path.read_text() == (tmp_path / "b.json").read_text()
    assert table.read_text().splitlines()[1].startswith("14m,jaxmap,100.0")
    with pytest.raises(InputError, match=r"^repeats: 0 is too few"):
        jaxmap.bench(repeats=0)


PROCESS = """
import os, sys
import jax
import jax.numpy as jnp
if sys.argv[3] == "after JAX":
    jax.jit(lambda x: x + 1)(jnp.ones(3)).block_until_ready()
import jaxmap
jaxmap.score(sys.argv[1], ["Some text.", "Another text."], sys.argv[2]).raise_for_failures()
assert jax.config.values["jax_cpu_enable_async_dispatch"] is False
print(jax.config.values["jax_compilation_cache_dir"])
"""


@pytest.mark.parametrize("when", ["before JAX", "after JAX"])
def test_a_notebook_gets_what_the_command_line_sets_up(made, tmp_path, when):
    """Programs are kept between sessions, wherever the user keeps caches."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", PROCESS, str(made / "gpt2"), str(tmp_path / "store"), when]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    folder = tmp_path / "cache" / "jaxmap" / "compiled"
    assert ran.stdout == f"{folder}\n"
    assert any(folder.iterdir())
