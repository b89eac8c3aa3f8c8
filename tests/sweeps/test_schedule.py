"""In which order checkpoints come, and who does which."""

from __future__ import annotations

from collections import Counter

import pytest

from jaxmap.checkpoint.refs import Ref, parse_refs
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.weight_distances import DistanceTable
from jaxmap.sweeps.run import score_models
from jaxmap.sweeps.schedule import in_order, run_name, share
from jaxmap.sweeps.settings import Settings
from jaxmap.sweeps.tasks import plan_tasks

PYTHIA = "EleutherAI/pythia-{1.4b,410m,6.9b}@step{143000,0,1000}"


def test_size_then_run_then_step():
    refs = parse_refs(f"EleutherAI/pythia-410m-seed{{2,1}}@step{{2,0}},{PYTHIA}")
    names = [str(ref).removeprefix("EleutherAI/pythia-") for ref in in_order(refs)]
    assert names == [
        *("410m-seed2@step0", "410m-seed2@step2", "410m-seed1@step0", "410m-seed1@step2"),
        *("410m@step0", "410m@step1000", "410m@step143000"),
        *("1.4b@step0", "1.4b@step1000", "1.4b@step143000"),
        *("6.9b@step0", "6.9b@step1000", "6.9b@step143000"),
    ]


def test_without_sizes_the_order_is_kept():
    refs = [Ref("b"), Ref("a"), Ref("run", "step10"), Ref("c"), Ref("run", "step9")]
    assert [*map(str, in_order(refs))] == ["b", "a", "run@step9", "run@step10", "c"]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 60, 100])
def test_every_place_belongs_to_one_share(count):
    refs = in_order(parse_refs("pythia-{70m,160m,410m}@step{0:20:1}"))
    shares = [share(refs, i, count) for i in range(count)]
    assert [place for one in shares for place in one] == list(range(60))
    even = 60 / count
    assert all(abs(len(one) - even) <= max(1, 0.1 * even) for one in shares)
    assert shares == [share(refs, i, count) for i in range(count)]


def test_shares_end_where_runs_do_if_that_is_near():
    refs = in_order(parse_refs("a@step{0:52:1},b@step{0:48:1}"))
    assert [len(share(refs, i, 2)) for i in range(2)] == [52, 48]
    refs = in_order(parse_refs("a@step{0:60:1},b@step{0:40:1}"))
    assert [len(share(refs, i, 2)) for i in range(2)] == [50, 50]


def test_a_share_inside_a_run_reads_the_window_before_it():
    refs = in_order(parse_refs("a@step{0:6:1},b,c@step{0:3:1}"))

    def tasks(place: range, window: int):
        return plan_tasks(refs, place, lambda ref: [ref], window)  # type: ignore[list-item]

    ours = tasks(range(4, 8), 3)
    assert [str(w.ref) for w in ours if not w.items] == ["a@step1", "a@step2", "a@step3"]
    assert [str(w.ref) for w in ours if w.items] == ["a@step4", "a@step5", "b", "c@step0"]
    assert ours[0].group.steps == (0, 1, 2, 3, 4, 5)
    assert [w.group.run for w in ours if w.items] == ["a", "a", None, "c"]
    assert len({w.group.label for w in ours}) == 3
    # Together the shares have every checkpoint once, and each pair of the window in one of them.
    done = Counter(str(w.ref) for p in (range(4), range(4, 8), range(8, 10)) for w in tasks(p, 3)
                   if w.items)  # fmt: skip
    assert done == Counter(map(str, refs))
    assert all(w.items and w.group.run is None for w in tasks(range(10), 0))
    assert {run_name(ref) for ref in refs} == {"a", "b", "c"}


def test_runs_of_one_repository_come_one_after_another():
    stage2 = "stage2-ingredient{1,2}-step{2000,1000}-tokens1B"
    refs = in_order(parse_refs(f"org/OLMo-1B@{{{stage2},stage1-step{{3000,1000}}-tokens9B}}"))
    assert [ref.revision.rpartition("-")[0] for ref in refs] == [
        "stage2-ingredient1-step1000", "stage2-ingredient1-step2000",
        "stage2-ingredient2-step1000", "stage2-ingredient2-step2000",
        "stage1-step1000", "stage1-step3000",
    ]  # fmt: skip
    found = plan_tasks(refs, range(6), lambda ref: [ref], 3)
    assert [task.group.run for task in found[::2]] == [
        "org/OLMo-1B@stage2-ingredient1", "org/OLMo-1B@stage2-ingredient2", "org/OLMo-1B@stage1",
    ]  # fmt: skip
    assert found[0].group.steps == (1000, 2000)


def test_two_checkpoints_of_one_step_are_refused_where_distances_are_wanted():
    refs = in_order(parse_refs("a@step{1000,2000},a@step-1000"))
    assert len(plan_tasks(refs, range(3), lambda ref: [ref], 0)) == 3
    with pytest.raises(InputError, match="a@step1000 and a@step-1000 are both step 1000") as caught:
        plan_tasks(refs, range(3), lambda ref: [ref], 1)
    assert caught.value.field == "weight_distance"


@pytest.mark.parametrize("shard", [(0, 1), (0, 2), (1, 2)])
def test_distances_are_requested_before_the_first_checkpoint_is_read(shard, tmp_path):
    """So that the totals of `jaxmap status` are there from the start, whoever starts first."""
    texts = TextSet(("a text", "another"))
    refs = parse_refs(f"{tmp_path}/run@step{{0:3000:1000}},{tmp_path}/other@step{{0:2000:1000}}")
    for name in ("run", "other"):
        for step in (0, 1000, 2000):
            (tmp_path / name / f"step{step}").mkdir(parents=True)
    store = Store.create(tmp_path / "store", texts)
    settings = Settings(weight_distance=2)
    outcome = score_models(refs, texts, store, settings, shard=shard, stop=lambda: True)
    assert outcome.stopped
    assert DistanceTable(store.path).count() == (0, 1 + 2 + 1)
    assert len(store.missing()) == 5
