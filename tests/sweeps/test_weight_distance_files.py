"""What counts as a parameter, whatever file and dtype it is stored in."""

from __future__ import annotations

import shutil

import ml_dtypes
import numpy as np
import pytest
from support.checkpoints import (
    change_tensors,
    make_checkpoint,
    read_tensors,
)
from support.weight_runs import RUN, make_run, oracle, planned, points, take_all

from jaxmap.store.weight_distances import (
    read_distances,
)
from jaxmap.sweeps.weight_distance import Distances


def test_dtypes_that_differ(tmp_path):
    """Stored in other dtypes, the numbers count; float64 is not rounded on the way."""
    folders = make_run(tmp_path / "run", 3, dtype="float32")
    change_tensors(
        folders[1], lambda t: t.update({n: a.astype(ml_dtypes.bfloat16) for n, a in t.items()})
    )
    change_tensors(
        folders[2], lambda t: t.update({n: a.astype(np.float64) + 1e-12 for n, a in t.items()})
    )
    take_all(planned(tmp_path / "store", 3), folders, model=True)
    found = read_distances(tmp_path / "store")[RUN].distance
    np.testing.assert_allclose(found, oracle(folders), rtol=1e-9)


def test_what_counts_as_a_parameter(tmp_path):
    """Buffers do not; tied embeddings stored twice count once; other names are no difference."""
    a = make_checkpoint(tmp_path / "a", tie_word_embeddings=True)
    b = make_checkpoint(tmp_path / "b", tie_word_embeddings=True, seed=1)
    exact = oracle([a, b])[0, 1]
    twice = shutil.copytree(b, tmp_path / "twice")
    change_tensors(
        twice,
        lambda t: t.update(
            {
                "embed_out.weight": t["gpt_neox.embed_in.weight"],
                "gpt_neox.layers.0.attention.masked_bias": np.full(1, -1e9, np.float32),
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq": np.ones(2, np.float32),
            }
        ),
    )
    bare = shutil.copytree(b, tmp_path / "bare")
    tensors = read_tensors(bare)
    (bare / "model.safetensors").unlink()
    from safetensors.numpy import save_file

    save_file(
        {name.removeprefix("gpt_neox."): one for name, one in tensors.items()},
        bare / "model.safetensors",
    )
    for other in (b, twice, bare):
        found = Distances(tmp_path / f"store-{other.name}")
        found.plan(RUN, (0, 1000))
        take_all(found, [a, other], model=True)
        value = read_distances(tmp_path / f"store-{other.name}")[RUN].distance[0, 1]
        assert value == pytest.approx(exact, rel=1e-9)


def test_torch_files(run13, tmp_path):
    """pytorch_model.bin is memory-mapped: what is kept is a copy."""
    import torch

    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in run13[:3]]
    found = planned(tmp_path / "store", 3)
    for i, folder in enumerate(folders):
        state = {n: torch.from_numpy(a) for n, a in read_tensors(folder).items()}
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        take_all(found, folders, [i], model=True)
        size = (folder / "pytorch_model.bin").stat().st_size
        (folder / "pytorch_model.bin").write_bytes(bytes(size))  # evicted, and the blocks reused
    np.testing.assert_allclose(
        read_distances(tmp_path / "store")[RUN].distance, oracle(run13[:3]), rtol=1e-9
    )


def test_other_architectures_have_no_distance(tmp_path, caplog):
    """Told by name, kept as NaN so that it is not tried again."""
    folders = [
        make_checkpoint(tmp_path / "a"),
        make_checkpoint(tmp_path / "b", hidden_size=24),
        make_checkpoint(tmp_path / "c", num_hidden_layers=1),
        make_checkpoint(tmp_path / "d", seed=2),
    ]
    found = planned(tmp_path / "store", 4)
    take_all(found, folders)
    distances = read_distances(tmp_path / "store")[RUN].distance
    assert np.argwhere(~np.isnan(distances)).tolist() == [[0, 3]]
    assert found.missing(RUN, points(4)) == set()
