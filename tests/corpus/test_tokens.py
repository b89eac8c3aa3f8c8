"""The contract of special tokens, and that ids are those of transformers' own default call.

A text gets the special tokens that its tokenizer adds by default, no more and no fewer: none for
Pythia, BOS for Llama, BOS and EOS for some. The first id, BOS or not, is a condition and is never
scored; everything after it is, EOS included. A response's special tokens are those of the whole:
prefix, prompt, response, suffix.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.errors import InputError

RULES = {"none": "$A", "bos": "<s> $A", "bos+eos": "<s> $A </s>", "eos": "$A </s>"}
FORMS = ("saved", "bare", "bare+config")
ODD = (
    "",
    " ",
    "\n\n\t ",
    "a",
    "  leading and trailing  ",
    "😀 👩‍👩‍👧 é e\u0301 ﬁ 12345 don't",
    "<s>in a text</s><s> <pad>",
    "</s>",
    "null \x00 and \u2028 and \x7f",
    "long words and numbers 1234567890 " * 3000,
)


def train(rule: str):
    """A small byte-level BPE whose template is the rule."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([Path(__file__).read_text("utf-8")], trainer)
    if rule != "none":
        backend.post_processor = processors.TemplateProcessing(
            single=RULES[rule],
            special_tokens=[("<s>", 0), ("</s>", 1)],
        )
    return backend


def save(folder: Path, rule: str, form: str = "saved") -> Path:
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    backend = train(rule)
    if form == "saved":
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
        ).save_pretrained(folder)
    else:
        backend.save(str(folder / "tokenizer.json"))
    if form == "bare+config":
        (folder / "config.json").write_text('{"model_type": "llama", "vocab_size": 512}')
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    return {rule: save(root / rule, rule) for rule in RULES}


def split(tokens) -> list[list[int]]:
    return [tokens.ids[a:b].tolist() for a, b in itertools.pairwise(tokens.offsets)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", RULES)
def test_ids_are_those_of_the_default_call(tmp_path, rule, form):
    from transformers import AutoTokenizer

    folder = save(tmp_path, rule, form)
    reference = AutoTokenizer.from_pretrained(folder)
    expected = [reference(text).input_ids for text in ODD]
    tokenizer = load_tokenizer(folder)
    tokens = tokenizer.encode(TextSet(ODD), None)
    assert split(tokens) == expected
    assert (tokens.ids.dtype, tokens.offsets.dtype) == (np.int32, np.int64)
    assert (tokens.first_scored.dtype, tokens.truncated.dtype) == (np.int32, np.bool_)
    assert tokens.lengths.tolist() == [len(ids) for ids in expected]
    assert tokens.first_scored.tolist() == [min(1, len(ids)) for ids in expected]
    assert tokens.num_scored.tolist() == [max(0, len(ids) - 1) for ids in expected]
    assert tokens.lengths.dtype == tokens.num_scored.dtype == np.int32
    assert not tokens.truncated.any()
    assert tokenizer.size == len(reference) == 400


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_is_named_and_its_ids_are_there(folders, rule):
    tokenizer = load_tokenizer(folders[rule])
    assert tokenizer.special_rule == rule
    assert tokenizer.prefix == ((0,) if "bos" in rule else ())
    assert tokenizer.suffix == ((1,) if "eos" in rule else ())
    [empty, word] = split(tokenizer.encode(TextSet(("", "a")), None))
    assert empty == [*tokenizer.prefix, *tokenizer.suffix]
    assert word == [*tokenizer.prefix, *word[len(tokenizer.prefix) :][:1], *tokenizer.suffix]


def test_special_tokens_without_a_role_have_their_own_name(tmp_path):
    assert load_tokenizer(save(tmp_path, "bos+eos", "bare")).special_rule == "<s>+</s>"


def test_a_response_beyond_the_context_is_not_scored(folders):
    tokenizer = load_tokenizer(folders["bos"])
    texts = TextSet((" yes", " yes", " yes"), ("a " * 50, "a", "a " * 3))
    tokens = tokenizer.encode(texts, 6)
    whole = tokenizer.encode(texts, None)
    assert tokens.truncated.tolist() == [True, False, bool(whole.lengths[2] > 6)]
    assert tokens.num_scored[0] == 0
    assert tokens.first_scored[0] == tokens.lengths[0] == 6
    assert tokens.num_scored[1] == whole.num_scored[1] > 0


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=12),
    context=st.integers(1, 12),
    per_call=st.integers(1, 5),
    paired=st.booleans(),
    rule=st.sampled_from(list(RULES)),
)
def test_context_cuts_the_right_end_whatever_the_slices(
    folders, texts, context, per_call, paired, rule
):
    tokenizer = load_tokenizer(folders[rule])
    texts = TextSet(tuple(texts), tuple(reversed(texts)) if paired else None)
    whole = tokenizer.encode(texts, None)
    done = []
    cut = tokenizer.encode(texts, context, done.append, per_call)
    assert sum(done) == len(cut) == len(texts)
    assert all(count <= per_call for count in done)
    assert split(cut) == [ids[:context] for ids in split(whole)]
    assert cut.truncated.tolist() == (whole.lengths > context).tolist()
    assert cut.first_scored.tolist() == np.minimum(whole.first_scored, context).tolist()
    assert (cut.first_scored >= np.minimum(1, cut.lengths)).all()
    assert (cut.num_scored >= 0).all()
    assert len(cut.ids) == cut.offsets[-1]


def test_exactly_the_context_is_not_truncated(folders):
    tokenizer = load_tokenizer(folders["none"])
    texts = TextSet(("abc def ghi",))
    [length] = tokenizer.encode(texts, None).lengths
    assert not tokenizer.encode(texts, int(length)).truncated[0]
    assert tokenizer.encode(texts, int(length) - 1).truncated[0]
    with pytest.raises(InputError, match="context=0"):
        tokenizer.encode(texts, 0)


def test_truncation_and_padding_stored_in_the_file_do_nothing(tmp_path, folders):
    plain = load_tokenizer(folders["bos"])
    state = json.loads((save(tmp_path, "bos") / "tokenizer.json").read_text("utf-8"))
    state["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    state["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_id": 2,
        "pad_to_multiple_of": None,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(state), "utf-8")
    stored = load_tokenizer(tmp_path)
    texts = TextSet(("a much longer text than four tokens", "a"))
    assert split(stored.encode(texts, None)) == split(plain.encode(texts, None))
    assert stored.fingerprint == plain.fingerprint


def test_fingerprint_depends_on_all_that_moves_an_id(tmp_path, folders):
    prints = {rule: load_tokenizer(folder).fingerprint for rule, folder in folders.items()}
    assert len(set(prints.values())) == len(RULES)
    assert load_tokenizer(save(tmp_path / "again", "bos")).fingerprint == prints["bos"]
    tokenizer = load_tokenizer(folders["bos"])
    tokenizer.encode(TextSet(("a", "b" * 100)), 3)
    assert tokenizer.fingerprint == prints["bos"]
    assert load_tokenizer(folders["bos"]).fingerprint == prints["bos"]
    path = save(tmp_path / "swapped", "bos") / "tokenizer.json"
    state = json.loads(path.read_text("utf-8"))
    vocabulary = state["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    path.write_text(json.dumps(state), "utf-8")
    assert load_tokenizer(path.parent).fingerprint != prints["bos"]
    config = save(tmp_path / "split", "bos") / "tokenizer_config.json"
    settings = json.loads(config.read_text("utf-8"))
    config.write_text(json.dumps({**settings, "split_special_tokens": True}), "utf-8")
    changed = load_tokenizer(config.parent)
    assert split(changed.encode(TextSet(("<s>",)), None)) != [[0, 0]]
    assert changed.fingerprint != prints["bos"]


def test_folders_without_a_tokenizer_name_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_tokenizer(tmp_path / "missing")
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "tokenizer.json, tokenizer.model" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer.json", '{"version": "1.0"'),
        ("tokenizer_config.json", "not json"),
        ("config.json", "[]"),
        ("config.json", "\xff"),
    ],
)
@pytest.mark.parametrize("form", ["saved", "bare"])
def test_broken_files_are_one_line(tmp_path, name, content, form):
    folder = save(tmp_path, "none", form)
    (folder / name).write_text(content, "latin-1")
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "auto_map", [{"AutoTokenizer": ["own.SlowOne", "own.FastOne"]}, ["own.SlowOne", "own.FastOne"]]
)
def test_code_of_the_checkpoint_is_refused_by_name_and_not_run(tmp_path, auto_map):
    folder = save(tmp_path, "none")
    config = {"tokenizer_class": "FastOne", "auto_map": auto_map}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass FastOne: pass\n")
    with pytest.raises(InputError, match=r"own\.FastOne"):
        load_tokenizer(folder)
    assert not (folder / "ran").exists()


def test_a_text_that_the_tokenizer_cannot_turn_into_ids_is_one_line(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"a": 0, "known": 1}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert split(tokenizer.encode(TextSet(("a known",)), None)) == [[0, 1]]
    with pytest.raises(InputError, match="cannot turn the texts into ids"):
        tokenizer.encode(TextSet(("unknown",)), None)


def test_it_works_where_torch_is_missing(folders):
    """transformers imports torch itself if there is one, so torch is hidden from it here."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from jaxmap.corpus.texts import TextSet\n"
        "from jaxmap.corpus.tokens import load_tokenizer\n"
        f"tokens = load_tokenizer({str(folders['bos+eos'])!r}).encode(TextSet(('a b',)), None)\n"
        "print(tokens.ids.tolist(), sys.modules['torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = load_tokenizer(folders["bos+eos"]).encode(TextSet(("a b",)), None)
    assert done.stdout == f"{expected.ids.tolist()} None\n"
    assert done.stderr == ""


ODD_SETTINGS = [
    {"bos_token": 3},
    {"bos_token": {"no content": 1}},
    {"additional_special_tokens": "<s>"},
    {"additional_special_tokens": [None, "<x>", 4]},
    {"added_tokens_decoder": {"x": "<x>"}},
    {"added_tokens_decoder": {"1": None}},
    {"extra_special_tokens": {"image_token": 5}},
    {"tokenizer_class": "LlamaTokenizer", "bos_token": None},
    {"tokenizer_class": "CpmTokenizer"},
]


@pytest.mark.parametrize("settings_", ODD_SETTINGS, ids=str)
def test_settings_in_no_known_form_are_one_line(tmp_path, settings_):
    folder = save(tmp_path, "none", "bare")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_))
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["a:b", "<|x:1|>", "two words", ":0"])
def test_any_token_can_stand_around_a_text(tmp_path, content):
    folder = save(tmp_path, "none", "bare")
    facts = {"tokenizer_class": "GPTNeoXTokenizer", "bos_token": content, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.special_rule == "bos"
    assert tokenizer.prefix == (400,)
    assert split(tokenizer.encode(TextSet((content,)))) == [[400, 400]]


def test_every_file_that_can_change_an_id_counts():
    from jaxmap.checkpoint.formats import choose

    changes = """tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json
        tokenizer.model tokenizer.model.v3 tekken.json tekken_240911.json tiktoken.model
        qwen.tiktoken spiece.model sentencepiece.bpe.model vocab.json vocab.txt merges.txt
        rwkv_vocab_v20230424.txt""".split()
    others = ["config.json", "model.safetensors", "README.md", "generation_config.json"]
    chosen = choose([*changes, *others, "original/tekken.json"], "here")
    assert sorted(chosen.tokenizer) == sorted(changes)
