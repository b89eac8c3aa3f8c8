"""Made store-format-1.tar.gz, once, with the code of commit e5e7ee6, the last that wrote format 1.

From a checkout of that commit: `PYTHONPATH=.:tests python THIS_FILE OUT.tar.gz`. It holds

    models/run/step{0,1,2}, models/later     checkpoints, float16, about 14 KB each
    models/broken                            one without weights
    texts.jsonl, pairs.jsonl                 what the stores were scored on
    store                                    results plain, by layer and of an int8 copy, weight
                                             distances, a failure, an item that is missing
    pmi                                      a store of PMI
    *.npz, *.kl.csv, *.status.txt            what that code exported and printed of both stores

References are relative to the folder in which the archive is unpacked.
"""

import contextlib
import gzip
import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from checkpoints import GPT2, NEOX, TEXTS, jaxmap, make_checkpoint, write_config, write_texts


def main(out: Path) -> None:
    from jaxmap.checkpoint.refs import Ref
    from jaxmap.corpus.texts import load_texts
    from jaxmap.score.run import score_models
    from jaxmap.store import Store

    texts = [*TEXTS, *(f"Text {i}: {text[::-1]}" for i, text in enumerate(TEXTS))]
    write_texts(Path("texts.jsonl"), texts)
    pairs = [("Q: 2 + 2?\nA:", " 4"), ("Once upon", " a time"), ("a", " b c"), ("日本", "語")]
    rows = [{"prompt": prompt, "response": response} for prompt, response in pairs]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_texts(Path("responses.jsonl"), [response for _, response in pairs])
    tiny = dict(dtype="float16", hidden_size=8, intermediate_size=16)
    for step in range(3):
        make_checkpoint(Path(f"models/run/step{step}"), NEOX, seed=step, **tiny)
    make_checkpoint(Path("models/later"), GPT2, seed=9, dtype="float16", n_embd=8)
    make_checkpoint(Path("models/broken"), NEOX, seed=5, **tiny)
    (Path("models/broken") / "model.safetensors").unlink()
    write_config(Path("models/broken"), {**NEOX, "num_attention_heads": 3})

    def run(*arguments: str, code: int | None = 0) -> str:
        ran = jaxmap(*arguments)
        assert code in (None, ran.code), (ran.out, ran.err)
        return ran.out

    score = ("score", "--store=store", "--texts=texts.jsonl")
    run(*score, "--models=models/run@step{0,1,2}", "--weight_distance=2")
    run(*score, "--models=models/run@step2", "--lens", "--quantize=none,int8")
    run(*score, "--models=models/broken", code=2)
    opened = Store.create("store", load_texts("texts.jsonl"))
    told = score_models(
        [Ref("models/later")], load_texts("texts.jsonl"), opened, stop=lambda: True,
        command="jaxmap score --store=store --texts=texts.jsonl --models=models/later",
    )  # fmt: skip
    assert told.stopped
    for store, name in (("given", "pairs"), ("alone", "responses")):
        run("score", f"--store={store}", f"--texts={name}.jsonl", "--models=models/run@step{0,2}")
    run("pmi", "--conditional=given", "--unconditional=alone", "--out=pmi")

    for store in ("store", "pmi"):
        run("export", f"--store={store}", f"--out={store}.npz")
        run("kl", f"--store={store}", f"--out={store}.kl.csv")
        Path(f"{store}.status.txt").write_text(run("status", f"--store={store}", code=None))

    kept = sorted(p for p in Path().rglob("*") if p.parts[0] not in ("given", "alone"))
    with gzip.GzipFile(out, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for path in kept:
            if path.is_file() and path.parts[1:2] not in (("tokens",), ("workers",)):
                entry = tar.gettarinfo(path)
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = ""
                tar.addfile(entry, io.BytesIO(path.read_bytes()))


if __name__ == "__main__":
    where = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        main(where)
