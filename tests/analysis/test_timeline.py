"""Steps and tokens, stages joined and branches, warmups that follow the run."""

from __future__ import annotations

import numpy as np
import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.consecutive import measure_consecutive
from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.analysis.learning import measure_learning
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.nearest_models import measure_nearest
from jaxmap.analysis.scale import measure_scale
from jaxmap.errors import InputError
from jaxmap.naming import names_of
from jaxmap.reports.interactive import payload
from jaxmap.reports.page import make_report
from jaxmap.store import Store
from jaxmap.store.weight_distances import WeightDistances, write_distances

TEXTS = texts(60)
OLMO = "org/OLMo-1B"


def walk(*names: tuple[str, str | None], seed: int = 0, scale: float = 3.0) -> list:
    """Records of checkpoints in time: scores that take Gaussian steps from one to the next."""
    rng = np.random.default_rng(seed)
    scores = -3.0 * TEXTS.num_bytes
    records = []
    for ref, revision in names:
        scores = scores + rng.normal(0, scale, len(TEXTS))
        records.append(record(TEXTS, ref, revision, scores=scores))
    return records


def stage(number: int | str, steps, per_step: float = 4e6) -> list[tuple[str, str]]:
    return [
        (OLMO, f"stage{number}-step{step}-tokens{-(-step * per_step // 1e9):.0f}B")
        for step in steps
    ]


@pytest.fixture(scope="module")
def olmo(tmp_path_factory) -> Store:
    """Stage 1 to step 16,000, and two ingredients that leave its end."""
    ones = walk(*stage(1, range(0, 17_000, 1000)))
    last = ones[-1].arrays["log_likelihood"]
    for seed, name in enumerate(("2-ingredient1", "2-ingredient2"), 1):
        for one in walk(*stage(name, range(1000, 5000, 1000)), seed=seed):
            moved = one.arrays["log_likelihood"] + last + 3.0 * TEXTS.num_bytes
            ones.append(record(TEXTS, OLMO, one.identity.revision, scores=moved))
    return filled(tmp_path_factory.mktemp("olmo"), TEXTS, *ones)[0]


def kl_oracle(a_N: np.ndarray, b_N: np.ndarray, mean_bytes: float) -> float:
    return float(np.var(a_N - b_N) / (2 * mean_bytes * np.log(2)))


def exponent_oracle(times, distances) -> float:
    return float(np.polyfit(np.log(times), np.log(distances), 1)[0])


def test_apart_each_stage_has_its_own_steps(olmo):
    pre = Context(olmo).timeline
    assert {run.name: (run.times[0], run.times[-1], run.unit) for run in pre.runs} == {
        "OLMo-1B@stage1": (0, 16_000, "step"),
        "OLMo-1B@stage2-ingredient1": (1000, 4000, "step"),
        "OLMo-1B@stage2-ingredient2": (1000, 4000, "step"),
    }
    # Stage 2 goes on with a rate that is warmed up.
    assert [run.warmup for run in pre.runs] == [2000, 0, 0]


def test_branches_begin_at_the_checkpoint_that_they_leave(olmo):
    context = Context(olmo, stages="joined")
    pre = context.timeline
    runs = {run.name: run for run in pre.runs}
    assert list(runs) == [
        "OLMo-1B@stage1", "OLMo-1B@stage2-ingredient1", "OLMo-1B@stage2-ingredient2",
    ]  # fmt: skip
    for name in list(runs)[1:]:
        assert runs[name].steps.tolist() == [16_000, 17_000, 18_000, 19_000, 20_000]
        assert runs[name].entries[0].label == f"{OLMO}@stage1-step16000-tokens64B"
    rows = {run.name: row for run, row in zip(pre.runs, pre.rows, strict=True)}
    assert rows["OLMo-1B@stage1"][-1] == rows["OLMo-1B@stage2-ingredient1"][0]
    # The first interval of a branch is from there.
    steps = {one.run: one for one in measure_consecutive(pre).runs}["OLMo-1B@stage2-ingredient2"]
    ll = pre.ll_KN[rows["OLMo-1B@stage2-ingredient2"]]
    assert steps.start_I.tolist() == [16_000, 17_000, 18_000, 19_000]
    assert steps.kl_I[0] == pytest.approx(kl_oracle(ll[0], ll[1], pre.mean_bytes), rel=1e-9)
    assert not steps.during_I.any()
    # On the map a line joins them, and branches have heads of their own.
    atlas = make_atlas(context)
    there = {tuple(pair) for pair in atlas.find("trajectories").pairs_P2.tolist()}
    for name in list(runs)[1:]:
        assert tuple(rows[name][:2].tolist()) in there
    lines = {line.run: line for line in atlas.run_lines(atlas.maps[0].embeddings[-1])}
    np.testing.assert_array_equal(
        lines["OLMo-1B@stage1"].xy_I2[-1], lines["OLMo-1B@stage2-ingredient1"].xy_I2[0]
    )
    [drawn, *_] = payload(context, atlas, measure_nearest(context), None)["maps"]
    assert max(drawn["step"]) == 20_000
    assert len(drawn["paths"]) == 3


def test_tokens_of_names_and_of_steps(olmo):
    by_name = Context(olmo, time="tokens", stages="joined").timeline
    tokens = {run.name: run.times.tolist() for run in by_name.runs}
    assert tokens["OLMo-1B@stage1"][:3] == [0, 4_000_000_000, 8_000_000_000]
    assert tokens["OLMo-1B@stage2-ingredient1"][:2] == [64_000_000_000, 68_000_000_000]
    assert {run.unit for run in by_name.runs} == {"token"}
    given = names_of(
        [
            {"model": OLMO, "run": "stage1", "tokens_per_step": 4_194_304},
            {"model": OLMO, "run": "stage2-*", "tokens_per_step": 2_097_152.5},
        ]
    )
    pre = Context(olmo.with_runs(given), time="tokens", stages="joined").timeline
    one, two, _ = pre.runs
    assert one.times.tolist() == [1000 * i * 4_194_304 for i in range(17)]
    assert two.times.tolist() == [16_000 * 4_194_304 + 1000 * i * 2_097_152.5 for i in range(5)]
    assert (one.warmup, one.steps[-1], two.steps[-1]) == (2000, 16_000, 20_000)
    apart = Context(olmo.with_runs(given), time="tokens").timeline
    assert apart.runs[1].times.tolist()[0] == 1000 * 2_097_152.5
    before = {"model": OLMO, "run": "stage2-*", "tokens_before": 100 * 10**9 + 7}
    for stages in ("apart", "joined"):
        moved = olmo.with_runs(names_of([before]))
        told = Context(moved, time="tokens", stages=stages).timeline.runs[1]
        assert told.times[-1] == 116_000_000_007
    wrong = olmo.with_runs(names_of([{**before, "tokens_before": 7}]))
    with pytest.raises(InputError, match=r"do not grow from org/OLMo-1B@stage1 step 16000 \(64,0"):
        _ = Context(wrong, time="tokens", stages="joined").timeline


def test_the_only_run_that_goes_on_is_one_line_with_it(tmp_path):
    names = [("org/a", f"phase1_{step}") for step in ()]
    names += [("org/a", f"phase1-step{step}") for step in range(1000, 9000, 1000)]
    names += [("org/a", f"phase2-step{step}") for step in range(0, 5000, 500)]
    names += [("org/a", f"longctx-step{step}") for step in range(100, 500, 100)]
    given = names_of([{"model": "org/a", "run": "longctx", "continues": "phase2", "at": 4500}])
    store = filled(tmp_path, TEXTS, *walk(*names))[0].with_runs(given)
    context = Context(store, stages="joined")
    [run] = context.timeline.runs
    assert run.name == "a@phase1+phase2+longctx"
    # Phase 2's step 0 is phase 1's last checkpoint under another name.
    assert run.steps.tolist() == [*range(1000, 9000, 1000), *range(8500, 13_000, 500),
                                  *range(12_600, 13_000, 100)]  # fmt: skip
    assert [one.label for one in run.entries[7:9]] == ["org/a@phase1-step8000",
                                                       "org/a@phase2-step500"]  # fmt: skip
    found = measure_diffusion(context, window=4)
    [curve] = found.exponents
    assert found.displacements[0].lags.tolist() == [100, 200, 300, 400]
    pre = context.timeline
    ll = pre.ll_KN[pre.rows[0]]
    for start, exponent in zip(curve.starts.tolist(), curve.exponent, strict=True):
        i = run.steps.tolist().index(start)
        kl = [kl_oracle(ll[i], ll[j], pre.mean_bytes) for j in range(i + 1, i + 5)]
        lags = [float(run.steps[j] - start) for j in range(i + 1, i + 5)]
        assert exponent == pytest.approx(exponent_oracle(lags, kl), rel=1e-9)
    # Across the two, windows hold unequal lags: taking places for times is wrong.
    i = run.steps.tolist().index(7000)
    kl = [kl_oracle(ll[i], ll[j], pre.mean_bytes) for j in range(i + 1, i + 5)]
    at = curve.starts.tolist().index(7000)
    assert abs(curve.exponent[at] - exponent_oracle([1.0, 2.0, 3.0, 4.0], kl)) > 0.01


def test_steps_that_count_on_in_names(tmp_path):
    """As SmolLM 3's: stage 2 begins at the step at which stage 1 ends."""
    names = [("org/s", f"stage1-step-{step}") for step in range(40, 400, 40)]
    names += [("org/s", f"stage2-step-{step}") for step in range(400, 600, 40)]
    names += [("org/s", f"stage3-step-{step}") for step in range(600, 800, 40)]
    store = filled(tmp_path, TEXTS, *walk(*names))[0]
    facts = [{"model": "org/s", "tokens_per_step": 10},
             {"model": "org/s", "run": "stage2", "tokens_per_step": 30}]  # fmt: skip
    given = store.with_runs(names_of(facts[::-1]))
    [run] = Context(given, stages="joined").timeline.runs
    steps = [*range(40, 400, 40), *range(400, 600, 40), *range(600, 800, 40)]
    assert run.times.tolist() == steps
    [run] = Context(given, stages="joined", time="tokens").timeline.runs
    tokens = [10 * s if s <= 360 else 3600 + 30 * (s - 360) if s <= 560
              else 9600 + 10 * (s - 560) for s in steps]  # fmt: skip
    assert run.times.tolist() == tokens
    # Unless it is said how many steps came before.
    said = names_of([{"model": "org/s", "run": "stage2", "steps_before": 1000}, *facts])
    [run] = Context(store.with_runs(said), stages="joined").timeline.runs
    assert run.times.tolist()[9:] == [*range(1400, 1600, 40), *range(1600, 1800, 40)]


def test_a_branch_that_leaves_in_the_middle(tmp_path):
    names = [("org/a", f"step{step}") for step in range(0, 20_000, 1000)]
    names += [("org/a", f"decay-step{step}") for step in range(500, 3000, 500)]
    facts = {"model": "org/a", "run": "decay", "continues": "", "at": 10_300}
    store = filled(tmp_path, TEXTS, *walk(*names))[0]
    context = Context(store.with_runs(names_of([facts])), stages="joined")
    trunk, branch = context.timeline.runs
    assert trunk.steps[-1] == 19_000
    assert branch.steps.tolist() == [10_000, *range(10_800, 13_000, 500)]
    assert branch.entries[0].label == "org/a@step10000"
    gone = names_of([{**facts, "continues": "warm"}])
    with pytest.raises(InputError, match="continues 'warm': the store holds 0 such runs"):
        _ = Context(store.with_runs(gone)).timeline
    circle = names_of([facts, {"model": "org/a", "run": "", "continues": "decay"}])
    with pytest.raises(InputError, match="continues itself in a circle"):
        _ = Context(store.with_runs(circle)).timeline


def test_exponents_along_tokens_and_weights(tmp_path):
    """Batches that grow: lags in tokens are not those in steps."""
    tokens = [0, 1, 2, 4, 7, 11, 16, 22, 29, 37, 46, 56, 67, 79]
    names = [("org/a", f"step{1000 * i}-tokens{t}B") for i, t in enumerate(tokens)]
    store = filled(tmp_path, TEXTS, *walk(*names))[0]
    rng = np.random.default_rng(5)
    x_ID = rng.normal(size=(len(tokens), 40)).cumsum(axis=0)
    weight_II = ((x_ID[:, None] - x_ID[None]) ** 2).sum(-1)
    steps = np.arange(len(tokens)) * 1000
    write_distances(store.path, WeightDistances("org/a", steps, np.triu(weight_II, 1)))
    for time, axis in (("steps", steps), ("tokens", np.array(tokens) * 10**9)):
        context = Context(store, time=time)
        found = measure_diffusion(context, start_from=1000, window=5)
        ll = context.timeline.ll_KN
        kl_II = np.array([[kl_oracle(a, b, context.timeline.mean_bytes) for b in ll] for a in ll])
        for curve, distance in zip(found.exponents, (kl_II, weight_II), strict=True):
            assert curve.starts.tolist() == axis[1:9].tolist()
            for i, exponent in enumerate(curve.exponent, 1):
                lags = (axis[i + 1 : i + 6] - axis[i]).astype(float)
                expected = exponent_oracle(lags, distance[i, i + 1 : i + 6])
                assert exponent == pytest.approx(expected, rel=1e-9)
        assert set(found.to_dataframe()["unit"]) == {time.removesuffix("s")}
        label = found.draw()["diffusion"].axes[0].get_xlabel()
        assert label == f"lag t − t₀ (training {time})"


def test_names_of_tokens_alone(tmp_path):
    names = [("org/b", f"{n}b_tokens") for n in range(20, 400, 20)]
    store = filled(tmp_path / "b", TEXTS, *walk(*names))[0]
    [run] = Context(store).timeline.runs
    assert (run.unit, run.times[0], run.warmup) == ("token", 20 * 10**9, 3_800_000_000)
    found = measure_diffusion(Context(store))
    assert len(found.exponents[0].starts)
    figures = found.draw() | measure_learning(Context(store)).draw()
    for name in ("consecutive", "diffusion", "learning"):
        for axes in figures[name].axes:
            assert "step" not in axes.get_xlabel() + axes.get_title(loc="left")
            assert "tokens" in axes.get_xlabel()
    with pytest.raises(InputError, match="no run of the store gives its steps: its names give"):
        _ = Context(store, time="steps").timeline
    per_step = names_of([{"model": "org/b", "tokens_per_step": 4_000_000}])
    [run] = Context(store.with_runs(per_step), time="steps").timeline.runs
    assert run.times.tolist() == list(range(5000, 96_000, 5000))
    # Beside a run that tells steps alone, one of the two is left out by name.
    both = filled(tmp_path / "c", TEXTS, *walk(*names),
                  *walk(*[("org/a", f"step{n}000") for n in range(12)], seed=3))[0]  # fmt: skip
    for time, left in (("auto", "org/b"), ("steps", "org/b"), ("tokens", "org/a")):
        context = Context(both, time=time)
        assert len(context.timeline.runs) == 1
        [note] = context.timeline_notes
        assert f"time: {left} is left out: its names give" in str(note)
    for field in ("time", "stages"):
        with pytest.raises(InputError, match=f"{field}: 'x' is unknown; known: "):
            _ = Context(store, **{field: "x"}).timeline


def test_warmup_follows_the_run(tmp_path):
    """A run of 1,000 steps: nothing is absent, nothing is empty."""
    names = [("org/a", f"step{step}") for step in (*range(0, 100, 10), *range(100, 1001, 50))]
    context = Context(filled(tmp_path, TEXTS, *walk(*names))[0])
    [run] = context.timeline.runs
    assert run.warmup == 100
    rows = {row.setting.name: row.summary.n for row in measure_scale(context).rows}
    assert rows["later"] == rows["early"] == 9
    found = measure_diffusion(context)
    assert found.window == 5
    assert found.exponents[0].starts[0] == 30  # a quarter of the warmup, the next that is saved
    assert len(found.draw()["diffusion"].axes) == 2
    assert len(found.consecutive.draw()["consecutive"].axes) == 2
    given = Context(context.store, warmup_steps=500).timeline.runs[0]
    assert given.warmup == 500
    with pytest.raises(InputError, match="from step 1000 on; `start_from=500` fits"):
        measure_diffusion(context, start_from=1000, window=10)


def test_the_published_warmup_where_a_run_is_long_enough(tmp_path):
    for last, warmup in ((4000, 2000), (3000, 300)):
        names = [("org/a", f"step{step}") for step in range(0, last + 1, 1000)]
        store = filled(tmp_path / str(last), TEXTS, *walk(*names))[0]
        assert Context(store).timeline.runs[0].warmup == warmup


def test_the_page_along_tokens(olmo, tmp_path):
    """Tables, captions, figures and the interactive map say tokens."""
    page = make_report(Context(olmo, time="tokens", stages="joined", ask=ask_nobody))
    html = page.write(tmp_path / "page.html").read_text("utf-8")
    for told in (
        ">tokens</th>", "0 to 64B", "grows with the number of tokens", "training tokens",
        '"unit":"token"', "from token", "64B to 80B",
    ):  # fmt: skip
        assert told in html, told
    for untold in ("number of steps", "training step,", ">steps</th>"):
        assert untold not in html.partition("plotly.js v")[0], untold
