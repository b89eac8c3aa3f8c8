"""The launchers: a dry run shows what is executed, which is a command that jaxmap understands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

from jaxmap.cli import program

LAUNCH = REPOSITORY / "launch"
SCORE = ["score", "--store=/s/my runs", "--texts=t.jsonl", "--models=org/name@step{1,2}"]
CASES = {
    "slurm array": ("slurm", ["--shards=4", "--gpus_per_task=2"], "sbatch"),
    "slurm nodes": ("slurm", ["--nodes=2", "--gpus_per_node=8"], "sbatch"),
    "tpu": ("tpu_vm", ["--name=slice", "--zone=z"], "gcloud"),
    "gke": (
        "gke",
        ["--image=i", "--accelerator=tpu-v5-lite-podslice", "--topology=4x4", "--slices=3"],
        "kubectl",
    ),
    "ssh shares": ("ssh", ["--hosts=a,b"], "ssh"),
    "ssh together": ("ssh", ["--hosts=me@a,b", "--together"], "ssh"),
    "mpi": ("mpi", ["--processes=2", "--coordinator=a:99"], "mpirun"),
}
# Stands in for the schedulers: keeps its arguments and what it reads, ends as it is told.
FAKE = """#!{python}
import json, os, sys
with open(os.environ["SEEN"], "a") as file:
    stdin = "" if sys.stdin.isatty() else sys.stdin.read()
    file.write(json.dumps([[os.path.basename(sys.argv[0]), *sys.argv[1:]], stdin]) + "\\n")
codes = os.environ["CODES"].split(",")
with open(os.environ["SEEN"]) as file:
    sys.exit(int(codes[min(len(file.readlines()), len(codes)) - 1]))
"""


def launch(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, LAUNCH / f"{name}.py", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture
def machine(tmp_path) -> dict[str, str]:
    """A PATH on which the schedulers' programs are fakes."""
    for _, _, tool in CASES.values():
        path = tmp_path / "bin" / tool
        path.parent.mkdir(exist_ok=True)
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(0o755)
    seen = tmp_path / "seen"
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SEEN": str(seen), "CODES": "0"}


def seen(machine: dict[str, str]) -> list[tuple[list[str], str]]:
    return [tuple(json.loads(line)) for line in Path(machine["SEEN"]).read_text().splitlines()]


def jaxmap_lines(text: str) -> list[list[str]]:
    """The jaxmap commands in what a scheduler is given, as a shell reads them."""
    found = []
    for line in text.replace("\\n", "\n").splitlines():
        for part in re.split(r"&&|; ", line):
            if "jaxmap score" in part:
                words = shlex.split(part[part.index("jaxmap score") :])
                found.append(words)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_dry_run_shows_what_is_executed(case, machine):
    name, flags, tool = CASES[case]
    arguments = [*flags, "--folder=/w", "--setup=. env/bin/activate", "--", *SCORE]
    dry = launch(name, "--dry_run", *arguments, **machine)
    assert dry.returncode == 0, dry.stderr
    assert not Path(machine["SEEN"]).exists()
    real = launch(name, *arguments, **machine)
    assert real.returncode == 0, real.stderr
    executed = seen(machine)
    assert len(executed) == (2 if name == "ssh" else 1)
    shown = "".join(f"{shlex.join(words)}\n{stdin}" for words, stdin in executed)
    printed = re.sub(r"^(\w+=\w+ )+", "", dry.stdout)  # what is set for it
    assert sorted(printed.splitlines()) == sorted(shown.splitlines())
    assert executed[0][0][0] == tool


@pytest.mark.parametrize("case", CASES)
def test_what_is_executed_is_understood_and_each_process_has_its_part(case, machine):
    name, flags, _ = CASES[case]
    done = launch(name, *flags, "--", *SCORE, **machine)
    assert done.returncode == 0, done.stderr
    texts = []
    for words, stdin in sorted(seen(machine)):
        if name == "gke":
            container = json.loads(stdin)["spec"]["replicatedJobs"][0]["template"]["spec"]
            container = container["template"]["spec"]["containers"][0]
            texts.append(container["command"][-1])
        else:
            texts.append(stdin or words[-1].removeprefix("--command="))
    commands = [words for text in texts for words in jaxmap_lines(text)]
    assert len(commands) == len(texts)
    numbers = {
        "$SLURM_ARRAY_TASK_ID": "3",
        "$JOBSET_INDEX": "2",
        "${OMPI_COMM_WORLD_RANK:-$PMI_RANK}": "1",
    }
    own = []
    for words in commands:
        for variable, number in numbers.items():
            words = [word.replace(variable, number) for word in words]
        assert words[: 1 + len(SCORE)] == ["jaxmap", *SCORE]
        program.parse("score", words[2:])
        own.append(words[1 + len(SCORE) :])
    host = ["--coordinator_address=a:8476", "--num_processes=2"]
    expected = {
        "slurm array": [["--shard_index=3", "--shard_count=4"]],
        "slurm nodes": [["--distributed"]],
        "tpu": [["--distributed"]],
        "gke": [["--shard_index=2", "--shard_count=3", "--distributed"]],
        "ssh shares": [[f"--shard_index={i}", "--shard_count=2"] for i in range(2)],
        "ssh together": [[*host, "--process_id=1"], [*host, "--process_id=0"]],
        "mpi": [["--coordinator_address=a:99", "--num_processes=2", "--process_id=1"]],
    }
    assert own == expected[case]


@pytest.mark.parametrize(
    ("codes", "runs", "code"),
    [
        ("75,75,0", 3, 0),
        ("75", 4, 75),
        ("1", 1, 1),
        ("0", 1, 0),
        ("137,75,0", 3, 0),
        ("137", 2, 137),
    ],
)
def test_a_run_that_asks_for_it_or_is_killed_is_done_again(machine, codes, runs, code):
    flags = ("--processes=2", "--restarts=3", "--kills=1", "--")
    done = launch("mpi", *flags, *SCORE, **{**machine, "CODES": codes})
    assert done.returncode == code
    assert len(seen(machine)) == runs


def test_slurm_puts_a_run_that_asks_for_it_back_into_the_queue(machine, tmp_path):
    launch("slurm", "--shards=2", "--", *SCORE, **machine)
    [(_, script)] = seen(machine)
    assert "gpu" not in script
    for name, code in (("srun", 75), ("scontrol", 0)):
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/bash\necho "{name} $@" >> {tmp_path}/calls\nexit {code}\n')
        path.chmod(0o755)
    ran = subprocess.run(
        ["bash"],
        input=script,
        text=True,
        env={
            **os.environ,
            **machine,
            "SLURM_JOB_ID": "7",
            "SLURM_ARRAY_JOB_ID": "5",
            "SLURM_ARRAY_TASK_ID": "1",
            "SLURM_JOB_CPUS_PER_NODE": "16(x2),6",
        },
        check=False,
    )
    assert ran.returncode == 75
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[0].startswith("srun --kill-on-bad-exit=1 --cpus-per-task=6 jaxmap score")
    assert calls[0].endswith("--shard_index=1 --shard_count=2")
    assert calls[1] == "scontrol requeue 5_1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "after -- comes a jaxmap command: score or sweep"),
        (["report", "--store=s"], "not 'report'"),
        (["score", "--stor=s"], "did you mean --store?"),
        (["score", "--texts=t", "--models=m"], "--store is required"),
        (["score", "--store=s", "--models=m"], "--texts is required"),
        (["score", "--store=s", "--texts=t"], "--models is required"),
        (["sweep", "--store=s"], "--config is required"),
    ],
)
def test_what_jaxmap_would_refuse_is_refused_before_anything_is_started(
    machine, arguments, message
):
    done = launch("ssh", "--hosts=a", "--", *arguments, **machine)
    assert done.returncode == 2
    assert message in done.stderr
    assert not Path(machine["SEEN"]).exists()


LAUNCHERS = [path for path in sorted(LAUNCH.glob("*.py")) if path.stem != "job"]


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_help_shows_the_flags_of_the_launcher_and_no_others(path):
    done = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    defined = set(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', path.read_text()))
    shown = set(re.findall(r"^  --(\w+)$", done.stdout, re.MULTILINE))
    assert shown == defined | {"dry_run", "folder", "setup"}
    assert f"launch/{path.name}" in done.stdout


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("ssh", ["--host=a"], "unknown flag --host; did you mean --hosts?"),
        ("ssh", [], "--hosts: required"),
        ("ssh", ["--hosts="], "write hosts with commas between"),
        ("ssh", ["--hosts=a,,b"], "write hosts with commas between"),
        ("ssh", ["--hosts=a,b,a"], "names a host twice"),
        ("ssh", ["--hosts=a", "b"], "'b' stands before --"),
        ("slurm", [], "give --shards (many models) or --nodes"),
        ("slurm", ["--shards=2", "--nodes=2"], "give --shards (many models) or --nodes"),
        ("slurm", ["--shards=0"], "--shards=0: 0 is not a positive integer"),
        ("slurm", ["--shards=2", "--gpus_per_node=8"], "with --shards give --gpus_per_task"),
        ("slurm", ["--nodes=2", "--gpus_per_task=1"], "with --nodes give --gpus_per_node"),
        ("mpi", ["--processes=2", "--coordinator=a"], "--coordinator=a: write host:port"),
        ("mpi", ["--processes=2", "--hostfile=/none"], "--hostfile=/none: No such file"),
        ("gke", ["--image=i"], "--accelerator, --topology: required"),
        ("gke", ["--image=i", "--accelerator=a", "--topology=4by4"], "write a grid, as in 4x4"),
        ("tpu_vm", ["--name=n"], "--zone: required"),
    ],
)  # fmt: skip
def test_what_the_launcher_is_not_told_right_is_one_line(machine, name, flags, message):
    done = launch(name, *flags, "--", *SCORE, **machine)
    assert done.returncode == 2
    assert done.stderr.startswith("launch: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert not Path(machine["SEEN"]).exists()


def test_a_program_that_is_not_there_is_one_line(tmp_path):
    done = launch("mpi", "--processes=2", "--", *SCORE, PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (
        2,
        "launch: mpirun: no such program on this machine\n",
    )


def test_the_first_host_of_the_file_coordinates(machine, tmp_path):
    (tmp_path / "hosts").write_text("# two\n\nnode7 slots=4\nnode8 slots=4\n")
    done = launch(
        "mpi", "--processes=8", f"--hostfile={tmp_path / 'hosts'}", "--", *SCORE, **machine
    )
    assert done.returncode == 0, done.stderr
    [(words, _)] = seen(machine)
    assert "--coordinator_address=node7:8476 " in words[-1]


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.stem)
def test_the_commands_in_the_docstrings_run(path):
    import ast

    commands = launched(ast.get_docstring(ast.parse(path.read_text())) or "")
    assert commands
    for file, words in commands:
        assert file == path.name
        runs_dry(file, words)


@pytest.mark.parametrize("page", ["first-cluster-run", "slurm", "tpu", "gke", "ssh"])
def test_the_commands_of_the_pages_are_understood(page):
    text = (LAUNCH.parent / "docs" / f"{page}.md").read_text()
    commands = launched(text)
    assert commands
    for file, words in commands:
        runs_dry(file, words)
    own = re.findall(
        r"^ .*?jaxmap (texts|plan|status|kl|report) (--.*)", joined(text), re.MULTILINE
    )
    assert {"texts", "status", "report"} <= {name for name, _ in own}
    for name, arguments in own:
        program.parse(name, shlex.split(arguments, comments=True))


def joined(text: str) -> str:
    """Each command on one line."""
    return re.sub(r" *\\\n *", " ", text)


def launched(text: str) -> list[tuple[str, list[str]]]:
    """The launchers' files and arguments in a text."""
    found = re.findall(r"python launch/(\w+\.py) (.*)", joined(text))
    return [(file, shlex.split(arguments.replace("$PWD", "/work"))) for file, arguments in found]


def runs_dry(file: str, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, LAUNCH / file, "--dry_run", *words],
        capture_output=True,
        text=True,
        cwd=LAUNCH.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
