"""Files of a repository that are damaged or foreign are refused, and the rest arrives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from support.shared_stores import REPO, TEXTS, hub_record, pulled_store, results, shared
from support.stores import filled

import jaxmap
from jaxmap.errors import InputError
from jaxmap.sharing.redaction import PublicNames, public_identity
from jaxmap.sharing.shared_files import NotSharedError, arrived, content_of, files_of
from jaxmap.store import Store, TextFacts

# Of the Hub's client, about its own HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_damaged_file_of_the_store_is_replaced(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    theirs = pulled_store(tmp_path)
    path = next(theirs.path.glob("records/org-b*"))
    path.write_bytes(path.read_bytes()[:-3])
    assert jaxmap.pull(theirs.path, REPO).added == (f"records/{path.name}",)
    assert len(Store.open(theirs.path).records()) == 5


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def rewritten(content: bytes, change) -> bytes:
    """A record with other facts, and with a checksum that fits them."""
    from jaxmap.store import record_files

    metadata, arrays = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]), None
    facts = json.loads(metadata["__metadata__"]["jaxmap"])
    arrays = safetensors.numpy.load(content)
    change(facts, arrays)
    text = json.dumps(facts)
    crc = record_files._checksum(text, arrays, sorted(arrays))
    return safetensors.numpy.save(arrays, metadata={"jaxmap": text, "crc32": crc})


def set_fact(path: str, value):
    def change(facts, arrays):
        *folders, last = path.split(".")
        for one in folders:
            facts = facts[one]
        facts[last] = value

    return change


def set_array(name: str, value):
    def change(facts, arrays):
        arrays[name] = value(arrays[name])
        shape = list(arrays[name].shape)
        facts["arrays"][name] |= {"dtype": arrays[name].dtype.name, "shape": shape}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flipped, "checksum"),
        (lambda c: c[:100], "not a whole safetensors file"),
        (lambda c: b"\x80\x04K\x01.", "not a whole safetensors file"),
        (lambda c: b"", "not a whole safetensors file"),
        (set_fact("identity.texts", "f" * 64), "scored on other texts"),
        (set_fact("identity.ref", "/etc/passwd"), "no public name"),
        (set_fact("identity.ref", "../../x"), "no public name"),
        (set_fact("identity.ref", "<script>alert(1)</script>"), "no public name"),
        (set_fact("identity.ref", "org/other"), "its name is not that of its contents"),
        (set_fact("identity.revision", "a | b"), "is no revision"),
        (set_fact("identity.dtype", "float8"), "dtype or quantisation is unknown"),
        (set_fact("identity.layer", -1), "its layer is -1"),
        (set_fact("identity.layer", "1"), "its layer is of a wrong type"),
        (set_fact("provenance.device", "\x1b[31m"), "its device is no line of text"),
        (set_fact("provenance.num_layers", "12"), "its num_layers is of a wrong type"),
        (set_fact("provenance.model", {"num_parameters": "many"}), "its num_parameters is of a"),
        (set_fact("provenance.model", {"base": ["a\nb"]}), "its base is no line of text"),
        (set_fact("generation", 10**30), "its generation is 1"),
        (set_fact("format", 3), "its format is 3"),
        (set_array("log_likelihood", lambda a: a * np.nan), "NaN or infinite"),
        (set_array("log_likelihood", lambda a: a[:-1]), "has the shape"),
        (set_array("num_tokens", lambda a: a[None]), "has the shape"),
        (lambda c: rewritten(c, lambda f, a: (a.pop("num_tokens"), f["arrays"].pop("num_tokens"))),
         "without the numbers of tokens"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_foreign_is_refused(shared_file, tmp_path, change, words):
    name, content = shared_file
    try:
        spoilt = change(content)
    except TypeError:
        spoilt = rewritten(content, change)
    path = tmp_path / "arrived"
    path.write_bytes(content)
    facts = TextFacts(TEXTS.fingerprint, "", TEXTS.num_bytes)
    assert arrived(path, name, facts)[0].identity.ref == "org/b"
    path.write_bytes(spoilt)
    with pytest.raises(NotSharedError, match=words):
        arrived(path, name, facts)


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory) -> tuple[str, bytes]:
    """A good file, and its name."""
    made, [entry] = filled(tmp_path_factory.mktemp("shared"), TEXTS, hub_record("org/b", 1))
    names = PublicNames({})
    [file] = files_of(entry, public_identity(entry, names))
    return file.name, content_of(file, made, names)


def test_the_rest_arrives(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    spoilt = [name for name in sorted(results(hub)) if "org-b" in name or "org-c" in name]
    shared(hub)[spoilt[0]] = flipped(shared(hub)[spoilt[0]])
    shared(hub)[spoilt[1]] = shared(hub)[spoilt[0]]
    pulled = jaxmap.pull(tmp_path / "theirs", REPO)
    assert list(pulled.refused) == spoilt
    assert len(pulled.added) == 5
    assert f"refused: {spoilt[0]}: its checksum does not fit its contents" in pulled.text()
    assert {path.name[:5] for path in (tmp_path / "theirs" / "records").iterdir()} == {"org-a"}


def test_strange_names_are_refused(hub, store, tmp_path):
    names = ["records/x.safetensors", "records/a/b-0123456789abcdef.safetensors",
             "records/.a-0123456789abcdef.safetensors", "token_arrays/x.pkl"]  # fmt: skip
    jaxmap.push(store, REPO, card=False)
    some = next(content for name, content in shared(hub).items() if "org-b" in name)
    shared(hub).update(dict.fromkeys(names, some))
    pulled = jaxmap.pull(tmp_path / "theirs", REPO)
    assert pulled.refused == dict.fromkeys(names, "no result is called so")
    assert len(pulled.added) == 7


def test_a_damaged_text_file_is_one_line(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    start = b'{"format": 2, "fingerprint": "x", "source": "y"'
    for content in (b"", b"[]", b'{"format": 2}', start + b', "text_bytes": [[1]]}'):
        shared(hub)["store.json"] = content
        with pytest.raises(InputError, match=r"its store\.json is damaged"):
            jaxmap.pull(tmp_path / "theirs", REPO)
