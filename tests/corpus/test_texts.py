"""Files of texts: what is read, what is refused, and that a set's fingerprint is of its texts."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmap.corpus.texts import TextSet, load_texts, save_texts
from jaxmap.errors import InputError

COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
# Any text that UTF-8 can hold, with every line separator that is not a line's end here.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    ["", "a\u2028b", "a\x85b", "a\x0bb\x0c", "a\rb", "a\r", "é" * 30_000]
)
ONE_LINE = TEXT.filter(lambda text: "\n" not in text and not text.endswith("\r"))


@contextlib.contextmanager
def no_warnings():
    """Duplicates are expected in random sets; their warning has a test of its own."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    yield
    logging.getLogger("absl").setLevel(logging.NOTSET)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(COMPRESS.get(path.suffix, bytes)(data))
    return path


def error_of(path: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_texts(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@settings(deadline=None, max_examples=40)
@given(texts=st.lists(TEXT, min_size=1, max_size=8), compression=st.sampled_from(list(COMPRESS)))
def test_every_format_holds_the_same_set(texts, compression):
    expected = TextSet(tuple(texts))
    rows = "".join(json.dumps({"text": text, "id": 3}) + "\n" for text in texts)
    with tempfile.TemporaryDirectory() as name, no_warnings():
        folder = Path(name)
        paths = [
            write(folder, "a.jsonl" + compression, rows.encode()),
            write(folder, "b.jsonl" + compression, b"\xef\xbb\xbf\r\n" + rows.encode()[:-1]),
            write(folder, "c.json" + compression, json.dumps(texts, ensure_ascii=False).encode()),
            write(
                folder, "d.json" + compression, json.dumps([{"text": t} for t in texts]).encode()
            ),
            folder / ("e.jsonl" + compression),
        ]
        assert save_texts(paths[-1], ({"text": text} for text in texts)) == len(texts)
        for path in paths:
            loaded = load_texts(path)
            assert loaded.texts == expected.texts
            assert loaded.prompts is None
            assert loaded.fingerprint == expected.fingerprint
            assert loaded.num_bytes.tolist() == [len(text.encode()) for text in texts]
            assert loaded.num_bytes.dtype == np.int64


@settings(deadline=None, max_examples=40)
@given(
    texts=st.lists(ONE_LINE, min_size=1, max_size=8),
    compression=st.sampled_from(list(COMPRESS)),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_row_n_of_a_txt_file_is_line_n(texts, compression, end, last):
    last = last or texts[-1] == ""  # an empty last line exists only by its own newline
    data = end.join(texts) + end * last
    with tempfile.TemporaryDirectory() as name, no_warnings():
        bom = texts[0].startswith("\ufeff")
        path = write(Path(name), "t.txt" + compression, b"\xef\xbb\xbf" * bom + data.encode())
        assert load_texts(path).texts == tuple(texts)


@settings(deadline=None, max_examples=30)
@given(
    pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6),
    compression=st.sampled_from(list(COMPRESS)),
)
def test_pairs_round_trip(pairs, compression):
    prompts, responses = zip(*pairs, strict=True)
    with tempfile.TemporaryDirectory() as name, no_warnings():
        path = Path(name) / ("p.jsonl" + compression)
        save_texts(path, ({"prompt": p, "response": r} for p, r in pairs))
        loaded = load_texts(path)
    assert (loaded.prompts, loaded.texts) == (prompts, responses)
    assert loaded.fingerprint == TextSet(responses, prompts).fingerprint
    assert loaded.fingerprint != TextSet(responses).fingerprint
    assert loaded.num_bytes.tolist() == [len(r.encode()) for r in responses]


def test_fingerprint_depends_on_order_content_borders_and_role():
    sets = [
        TextSet(("ab", "c")),
        TextSet(("c", "ab")),
        TextSet(("a", "bc")),
        TextSet(("abc",)),
        TextSet(("ab", "c", "")),
        TextSet(("ab", "C")),
        TextSet(("c",), ("ab",)),
        TextSet(("ab",), ("c",)),
        TextSet(("c",)),
    ]
    assert len({texts.fingerprint for texts in sets}) == len(sets)
    assert TextSet(("ab", "c"), source="elsewhere").fingerprint == sets[0].fingerprint
    # Records of results carry it: it stays the same from version to version.
    assert sets[0].fingerprint.startswith("8f25ba63ec883aae")


@pytest.mark.parametrize("compression", COMPRESS)
def test_limit_reads_no_further(tmp_path, compression):
    path = write(tmp_path, "t.jsonl" + compression, b'{"text": "a"}\n{"text": "b"}\nbroken\n')
    assert load_texts(path, limit=2).texts == ("a", "b")
    assert "line 3" in error_of(path, limit=3)
    assert "at least 1" in error_of(path, limit=0)


def test_limit_bounds_the_memory(tmp_path):
    import tracemalloc

    path = write(tmp_path, "t.txt.zst", (b"x" * 999 + b"\n") * 50_000)
    tracemalloc.start()
    load_texts(path, limit=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # of 50 MB


def test_zst_of_several_frames_and_gz_of_several_members(tmp_path):
    a, b = b'{"text": "a"}\n{"te', b'xt": "b"}\n'
    for suffix in (".gz", ".zst"):
        path = tmp_path / ("t.jsonl" + suffix)
        path.write_bytes(COMPRESS[suffix](a) + COMPRESS[suffix](b))
        assert load_texts(path).texts == ("a", "b")


BAD_ROWS = {
    b"nonsense": "not JSON",
    b'{"text": "a"': "not JSON",
    b"[" * 100_000: "not JSON",
    b'["a"]': "not an object but a list",
    b'"a"': "not an object but a string",
    b"null": "not an object but null",
    b"{}": "no `text`",
    b'{"prompt": "a"}': "`prompt` alone",
    b'{"response": "a"}': "`response` alone",
    b'{"text": "a", "prompt": "b"}': "`text` and `prompt`",
    b'{"text": 3}': "`text` is not a string but a number",
    b'{"text": null}': "`text` is not a string but null",
    b'{"text": "a\\ud800b"}': "character 1 is the lone surrogate U+D800",
    b'{"prompt": "a", "response": "b"}': "a pair among plain texts",
    b'{"text": "caf\xe9"}': "invalid UTF-8 at byte 13 of the line (0xe9)",
}


@pytest.mark.parametrize("row", BAD_ROWS, ids=range(len(BAD_ROWS)))
@pytest.mark.parametrize("compression", COMPRESS)
def test_a_bad_jsonl_line_is_named(tmp_path, row, compression):
    data = b'{"text": "good"}\n\n' + row + b'\n{"text": "good too"}\n'
    message = error_of(write(tmp_path, "t.jsonl" + compression, data))
    assert "line 3" in message
    assert BAD_ROWS[row] in message


def test_a_plain_text_among_pairs_is_named(tmp_path):
    path = write(tmp_path, "t.jsonl", b'{"prompt": "a", "response": "b"}\n{"text": "c"}\n')
    assert "line 2: a plain text among pairs" in error_of(path)


def test_escaped_surrogate_pairs_are_characters(tmp_path):
    path = write(tmp_path, "t.jsonl", b'{"text": "\\ud83d\\ude00"}\n')
    assert load_texts(path).texts == ("😀",)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"text": "a"}', "not a list of strings but an object"),
        (b'{"text": "a"}\n{"text": "b"}', "line 2: not JSON"),
        (b'["a", 3]', "item 2: not an object but a number"),
        (b'["a", {"prompt": "b", "response": "c"}]', "item 2: a pair among plain texts"),
        (b'["a",\n"b', "line 2: not JSON"),
        (b'["a",\n"b\xff"]', "line 2: invalid UTF-8 at byte 2 of the line (0xff)"),
        (b"[]", "no texts"),
        (b"", "not JSON"),
    ],
)
def test_a_bad_json_file_is_named(tmp_path, data, said):
    assert said in error_of(write(tmp_path, "t.json", data))


def test_invalid_utf8_in_txt_names_line_and_byte(tmp_path):
    path = write(tmp_path, "t.txt", "ok\né".encode() + b"\xc3\nok\n")
    assert "line 2: invalid UTF-8 at byte 2 of the line (0xc3)" in error_of(path)


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.txt.gz", "t.jsonl.zst"])
def test_no_texts(tmp_path, name):
    assert "no texts" in error_of(write(tmp_path, name, b""))
    assert "no texts" in error_of(write(tmp_path, name, b"\xef\xbb\xbf"))
    (tmp_path / name).write_bytes(b"")  # not even a compressed nothing
    assert "no texts" in error_of(tmp_path / name)


def test_wrong_paths(tmp_path):
    assert "no such file" in error_of(tmp_path / "missing.txt")
    (tmp_path / "folder.txt").mkdir()
    assert "is a folder" in error_of(tmp_path / "folder.txt")
    unknown = error_of(write(tmp_path, "t.csv", b"a"))
    assert ".jsonl, .json, .txt" in unknown
    assert ".zst" in unknown


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_truncated_and_corrupt_compression(tmp_path, suffix):
    rng = np.random.default_rng(0)
    rows = [{"text": rng.bytes(50).hex()} for _ in range(4000)]
    path = tmp_path / ("t.jsonl" + suffix)
    save_texts(path, rows)
    whole = path.read_bytes()
    for cut in (3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert f"truncated or corrupt {suffix}" in error_of(path)
    path.write_bytes(whole[: len(whole) // 2] + b"\0" * 500 + whole[len(whole) // 2 + 500 :])
    error_of(path)
    path.write_bytes(b'{"text": "never compressed"}\n')
    assert f"truncated or corrupt {suffix}" in error_of(path)


def test_duplicates_are_kept_with_one_warning(tmp_path, caplog):
    path = write(tmp_path, "t.txt", b"a\nb\nc\nb\na\nb\n")
    with caplog.at_level(logging.WARNING):
        assert load_texts(path).texts == ("a", "b", "c", "b", "a", "b")
    [record] = caplog.records
    assert "3 of 6 texts" in record.getMessage()
    assert "texts 2 and 4" in record.getMessage()
    caplog.clear()
    # The same response to different prompts is no duplicate.
    save_texts(tmp_path / "p.jsonl", [{"prompt": p, "response": "yes"} for p in "ab"])
    load_texts(tmp_path / "p.jsonl")
    assert not caplog.records


def test_save_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "t.jsonl"
    save_texts(path, [{"text": "old"}])

    def rows():
        yield {"text": "new"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_texts(path, rows())
    for bad in ([], [{"text": "new"}, {"txt": "b"}], [{"text": "\ud800"}]):
        with pytest.raises(InputError):
            save_texts(path, bad)
    assert load_texts(path).texts == ("old",)
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]


def test_save_refuses_other_names_and_folders(tmp_path):
    for name in ("t.txt", "t.json", "t.csv"):
        with pytest.raises(InputError, match=r"\.jsonl"):
            save_texts(tmp_path / name, [{"text": "a"}])
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        save_texts(tmp_path / "d.jsonl", [{"text": "a"}])


@pytest.mark.parametrize("suffix", COMPRESS)
def test_saving_twice_gives_the_same_bytes(tmp_path, suffix):
    rows = [{"text": "a\u2028b", "index": 0, "document": "odd\udc80name.py"}]
    for name in "ab":
        save_texts(tmp_path / f"{name}.jsonl{suffix}", rows)
    a, b = ((tmp_path / f"{name}.jsonl{suffix}").read_bytes() for name in "ab")
    assert a == b
    assert load_texts(tmp_path / f"a.jsonl{suffix}").texts == ("a\u2028b",)


def test_a_set_checks_its_own_texts():
    with pytest.raises(InputError, match="text 2: character 0 is the lone surrogate"):
        TextSet(("a", "\ud800"))
    with pytest.raises(InputError, match="1 prompts for 2 responses"):
        TextSet(("a", "b"), ("p",))
