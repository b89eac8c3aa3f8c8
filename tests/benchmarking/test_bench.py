"""`jaxmap bench`, and a guard: scoring has not become half as fast as it was recorded to be."""

from __future__ import annotations

import json
import sys

import pytest
from support import REPOSITORY

from jaxmap.benchmarking.interleaved import take_turns
from jaxmap.benchmarking.report import BenchmarkReport
from jaxmap.benchmarking.speed import SpeedRow, measure
from jaxmap.cli import run
from jaxmap.errors import InputError, JaxmapError

RECORDED = REPOSITORY / "benchmarks" / "results" / "score-cpu.json"

ANSWERS = """
from jaxmap.benchmarking.interleaved import serve
turn = iter(range(99))

def prepare():
    print("a library's chatter", flush=True)
    return lambda: print("more of it", flush=True) or {"turn": next(turn)}

serve(prepare)
"""


def recorded() -> BenchmarkReport[SpeedRow]:
    facts = json.loads(RECORDED.read_text())
    return BenchmarkReport(
        facts["machine"], facts["settings"], [SpeedRow(**row) for row in facts["rows"]]
    )


def test_programs_take_turns_and_their_chatter_is_no_answer():
    command = [sys.executable, "-c", ANSWERS]
    answers = take_turns({"a": command, "b": command}, 2, "test")
    assert [[answer["turn"] for answer in answers[name]] for name in "ab"] == [[0, 1, 2]] * 2
    assert all(answer["seconds"] >= 0 and answer["peak_mib"] > 1 for answer in answers["a"])


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_peaks_are_those_of_the_program_and_of_its_work_alone():
    work = "lambda: {'length': len(b'x' * (64 << 20))}"
    prepare = f"len(b'x' * (128 << 20)) and ({work})"
    code = f"from jaxmap.benchmarking.interleaved import serve; serve(lambda: {prepare})"
    assert len(b"x" * (512 << 20))  # this process's own peak is more
    answers = take_turns({"a": [sys.executable, "-c", code]}, 1, "test")
    for answer in answers["a"]:
        assert 128 < answer["peak_mib"] < 256
        assert 60 < answer["work_mib"] < 100


def test_a_program_that_ends_early_is_named_with_its_last_words():
    command = [sys.executable, "-c", "raise SystemExit('no memory left')"]
    with pytest.raises(JaxmapError, match="rival ended early: no memory left"):
        take_turns({"rival": command}, 1, "test")


@pytest.mark.parametrize(
    ("shapes", "rivals", "message"),
    [(["7m"], [], "shapes: '7m' is unknown; known: 14m"), (["14m"], ["x"], "rivals: 'x'")],
)
def test_unknown_names_are_refused(shapes, rivals, message):
    with pytest.raises(InputError, match=message):
        measure(shapes, rivals=rivals)


def test_counts_below_one_are_refused():
    with pytest.raises(InputError, match="--repeats: 0 is too few"):
        run(["bench", "--repeats=0"])


def test_contestants_compute_the_same(tmp_path, capsys):
    """Each in a process of its own, on the smallest shape; all of them in the slow test."""
    pytest.importorskip("torch")
    out, few = tmp_path / "bench.json", ["--rivals=torch-batched", "--texts=2", "--repeats=1"]
    assert run(["bench", "--shapes=14m", *few, f"--out={out}"]) == 0
    assert "times as fast as torch-batched" in capsys.readouterr().out
    rows = {row["name"]: SpeedRow(**row) for row in json.loads(out.read_text())["rows"]}
    assert rows["torch-batched"].worst_nats < 2e-3


@pytest.mark.slow
def test_speed_is_not_half_of_what_was_recorded(tmp_path, capsys, optimised):
    pytest.importorskip("torch")
    out = tmp_path / "bench.json"
    assert run(["bench", "--shapes=70m", "--n=8", "--repeats=2", f"--out={out}"]) == 0
    text = capsys.readouterr().out
    facts = json.loads(out.read_text())
    now = {row["name"]: SpeedRow(**row) for row in facts["rows"]}
    for rival in ("torch-one", "torch-batched"):
        assert now[rival].worst_nats < 2e-3
        assert f"times as fast as {rival}" in text
        then = recorded()
        ratio_then = (
            then.row("70m", "jaxmap").tokens_per_second / then.row("70m", rival).tokens_per_second
        )
        ratio_now = now["jaxmap"].tokens_per_second / now[rival].tokens_per_second
        assert ratio_now > ratio_then / 2, f"{ratio_now:.2f} against {rival}, was {ratio_then:.2f}"
