"""References: braces, ranges, folders and what is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmap.checkpoint.refs import Ref, is_folder, parse_refs
from jaxmap.errors import InputError


def written(spec: str) -> list[str]:
    return [str(ref) for ref in parse_refs(spec)]


def test_names_and_revisions():
    assert parse_refs("gpt2, org/name@refs/pr/1,org/n.a-m_e@v1/") == [
        Ref("gpt2"),
        Ref("org/name", "refs/pr/1"),
        Ref("org/n.a-m_e", "v1"),
    ]


def test_ranges_leave_out_their_stop():
    refs = written("EleutherAI/pythia-70m@step{0,1,512,1000:144000:1000}")
    assert len(refs) == 3 + 143
    assert refs[0] == "EleutherAI/pythia-70m@step0"
    assert refs[-1] == "EleutherAI/pythia-70m@step143000"
    assert written("a/b@step{0,1,1000:143001:1000}")[-1] == "a/b@step143000"
    assert written("a/b@{3:6}") == ["a/b@3", "a/b@4", "a/b@5"]
    assert written("a/b@{5:0:-2}") == ["a/b@5", "a/b@3", "a/b@1"]


def test_leftmost_brace_varies_slowest():
    assert written("E/p-{70m,160m}@step{0,1000}, x/y") == [
        "E/p-70m@step0",
        "E/p-70m@step1000",
        "E/p-160m@step0",
        "E/p-160m@step1000",
        "x/y",
    ]


def test_braces_nest():
    assert written("a/{b,c{1:3}}-x") == ["a/b-x", "a/c1-x", "a/c2-x"]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True), max_size=3))
def test_product_equals_itertools(choices):
    spec = "o/x" + "".join("-{" + ",".join(part) + "}" for part in choices)
    expected = ["o/x" + "".join("-" + c for c in row) for row in itertools.product(*choices)]
    assert written(spec) == expected


def test_repeats_are_dropped_with_a_warning(capsys):
    assert written("a/b,c/d,a/b@main,a/b") == ["a/b", "c/d", "a/b@main"]
    err = capsys.readouterr().err
    assert "a/b" in err
    assert err.count("\n") == 1
    assert written("a/b,c/d") == ["a/b", "c/d"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "empty model name"),
        ("a/b,,c/d", "empty model name"),
        ("a/b,", "empty model name"),
        ("a/b@{1,2", "unbalanced brace, a '}'"),
        ("a/b@1,2}", "unbalanced brace, a '{'"),
        ("a/b@{1,}", "empty choice"),
        ("a/b@{}", "empty choice"),
        ("a/b@{1:x}", "bad range '1:x'"),
        ("a/b@{1:2:3:4}", "bad range"),
        ("a/b@{:5}", "bad range"),
        ("a/b@{1:9:0}", "step of zero"),
        ("a/b@{9:1}", "empty"),
        ("a/b@{0:100001}", "more than 100,000 items"),
        ("a/b@{0:10000000000000000000000000000}", "more than 100,000 items"),
        ("a/{0:1000}@{0:1000}", "more than 100,000 models"),
        ("a/b@", "name@revision"),
        ("@main", "name@revision"),
    ],
)
def test_refused_in_one_line(spec, reason):
    with pytest.raises(InputError) as caught:
        parse_refs(spec)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["~\0", "a/\0b", "{\n}", "{" * 5000 + "a" + "}" * 5000])
def test_what_a_fuzz_found(spec):
    with pytest.raises(InputError) as caught:
        parse_refs(spec)
    assert "\n" not in str(caught.value)


def test_largest_range_is_taken():
    assert len(parse_refs("a/b@{0:100000}")) == 100_000


def test_folders(tmp_path, monkeypatch):
    odd = tmp_path / "été, 1 {x}"
    at = tmp_path / "me@home"
    plain = tmp_path / "run 1"
    for folder in (odd, at / "run", plain, tmp_path / "gpt2"):
        folder.mkdir(parents=True)
    assert parse_refs(f"{odd}/") == [Ref(str(odd))]
    assert parse_refs(f"{at}/run/") == [Ref(f"{at}/run")]
    assert parse_refs(f"{at}@step{{1,2}}") == [Ref(str(at), "step1"), Ref(str(at), "step2")]
    assert parse_refs(f"{plain}@step1, {plain}//") == [Ref(str(plain), "step1"), Ref(str(plain))]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_refs("~/run 1@a,org/name") == [Ref(str(plain), "a"), Ref("org/name")]
    assert not is_folder("gpt2")
    monkeypatch.chdir(tmp_path)
    assert is_folder("gpt2")
    assert parse_refs("gpt2@x,./gpt2") == [Ref("gpt2", "x"), Ref("./gpt2")]
    assert parse_refs("/,.") == [Ref("/"), Ref(".")]
