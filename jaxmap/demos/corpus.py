"""The demo's training documents and texts: parts of the running Python."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.corpus.chunks import sample_chunks
from jaxmap.corpus.texts import save_texts
from jaxmap.demos.folders import build_folder, remove_unfinished
from jaxmap.demos.settings import DemoConfig
from jaxmap.errors import InputError
from jaxmap.progress import progress

END = "<|endoftext|>"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")

Document = tuple[str, str]  # name, text


def prepare_corpus(
    out: Path, config: DemoConfig, documents: Iterable[Document] | None = None
) -> Path:
    """Make OUT/texts.jsonl, the tokenizer and the training tokens, unless they are there.

    Documents (by default the documentation and source of the running Python) are held out by a
    hash of their name; texts are cut from those held out, and neither the tokenizer nor a model
    sees them. Returns the folder OUT/corpus: tokenizer files and train.npy, int32 ids of the
    documents one after another, each followed by <|endoftext|>.
    """
    folder = out / "corpus"
    texts = out / "texts.jsonl"
    if folder.is_dir() and texts.is_file():
        return folder
    remove_unfinished(out)
    if documents is None:
        from jaxmap.corpus.sources import open_source

        documents = open_source("stdlib")
    held_out, training = split(documents, config)
    if not training:
        raise InputError("demo: no training documents; lower held_out in the config")
    chunks = sample_chunks(
        held_out,
        n=config.texts,
        min_bytes=config.min_bytes,
        max_bytes=config.max_bytes,
        seed=config.text_seed,
    )
    build_folder(folder, lambda temp: _tokenizer_and_ids(temp, training, config))
    save_texts(
        texts,
        (
            {"text": chunk.text, "document": chunk.document, "chunk_idx": chunk.chunk_idx}
            for chunk in chunks
        ),
    )
    return folder


def split(
    documents: Iterable[Document], config: DemoConfig
) -> tuple[list[Document], list[Document]]:
    """Held-out and training documents, each in the order of a hash of their names.

    Training documents stop at `train_bytes`, so that a bigger Python does not cost more; that
    order makes them a sample of all and not the beginning of the alphabet.
    """
    held_out: list[tuple[float, str, str]] = []
    training: list[tuple[float, str, str]] = []
    for name, text in documents:
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
        (held_out if place < config.held_out else training).append((place, name, text))
    return (
        [(name, text) for _, name, text in sorted(held_out)],
        list(_until(sorted(training), config.train_bytes)),
    )


def _until(placed: list[tuple[float, str, str]], num_bytes: int) -> Iterator[Document]:
    for _, name, text in placed:
        if num_bytes <= 0:
            return
        num_bytes -= len(text.encode("utf-8"))
        yield name, text


def _tokenizer_and_ids(folder: Path, training: list[Document], config: DemoConfig) -> None:
    """Train a byte-level BPE tokenizer of Pythia's form; write it and the training ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    texts = [text for _, text in training]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() > config.vocabulary:
        raise InputError(
            f"demo config: vocabulary={config.vocabulary} is too small for a byte-level "
            f"tokenizer; give at least {tokenizer.get_vocab_size()}"
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": END, "eos_token": END, "unk_token": END}
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config.context,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    end = tokenizer.token_to_id(END)
    pieces: list[np.ndarray] = []
    with progress(total=len(texts), desc="training corpus", unit="documents") as bar:
        for start in range(0, len(texts), 64):
            batch = tokenizer.encode_batch(texts[start : start + 64], add_special_tokens=False)
            pieces.extend(np.array([*encoding.ids, end], np.int32) for encoding in batch)
            bar.update(len(batch))
    ids = np.concatenate(pieces)
    if len(ids) < config.window:
        raise InputError(
            f"demo: {len(ids)} training tokens do not fill a window of {config.window}"
        )
    buffer = io.BytesIO()
    np.save(buffer, ids)  # to a file NumPy names no cause where the disk is full
    (folder / "train.npy").write_bytes(buffer.getvalue())


def copy_tokenizer(corpus: Path, folder: Path) -> None:
    """Put the tokenizer's files into a checkpoint's folder."""
    for name in TOKENIZER_FILES:
        shutil.copyfile(corpus / name, folder / name)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
