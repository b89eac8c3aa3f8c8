"""The names of the authors' released files, and where they are found.

    data/texts.json
    data/logp/pretraining_logp.pkl         size -> step -> float32 [N] or None
    data/logp/8bit_quantization_logp.pkl   name -> [N] or None; 4bit_quantization_logp.pkl likewise
    data/logp/layer_logp.pkl               name -> layer -> [N] or None; None for a whole model
    data/logp/oyama2025_logp.pkl           [models, N] clipped from below; rows: model_list.json
    data/model_info/model_list.json        names of the rows
    data/model_info/modelname2type.json    name -> type
    data/model_info/sibling_info.json      child -> parent, list of parents, or null
    data/model_info/type2color.json        type -> red, green, blue, opacity in 0..1
    data/tsne/*.pkl                        t-SNE coordinates of figures 1 and 2
    data/weight_distance/weight_distance.pkl
                                           size -> [154, 154] above the diagonal, 0: not done

Of the model map's own release, raw_log-likelihood_1018.pkl (name -> [N]) and texts-10k-pile.jsonl
are read too. Any of the files may be absent, and any may lie in the folder itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxmap.errors import InputError
from jaxmap.store.released_data import LAYERS, PRETRAINING

MEAN_BYTES = 972.3188  # of the published 10,000 texts (Oyama et al., arXiv 2502.16173)

QUANTISED = {"8bit_quantization_logp.pkl": "int8", "4bit_quantization_logp.pkl": "fp4"}
RAW = "raw_log-likelihood_1018.pkl"
CLIPPED = "oyama2025_logp.pkl"
DISTANCES = "weight_distance.pkl"
NAMES, TYPES, PARENTS = "model_list.json", "modelname2type.json", "sibling_info.json"
COLORS = "type2color.json"
TEXTS = ("texts-10k-pile.jsonl", "texts.json")
TEXT_BYTES = "text_bytes.json"  # ours: the bytes of each text, where the texts are not at hand
TSNE = {
    "trajectories": "pretraining_tsne_2d.pkl",
    "8-bit": "8bit_quantization_tsne.pkl",
    "families": "ft_tsne.pkl",
    "layers": "layer_tsne.pkl",
}
VECTORS = (PRETRAINING, *QUANTISED, LAYERS, RAW, CLIPPED)
FOLDERS = {
    **dict.fromkeys(VECTORS, "logp"),
    **dict.fromkeys((NAMES, TYPES, PARENTS, COLORS), "model_info"),
    **dict.fromkeys(TSNE.values(), "tsne"),
    DISTANCES: "weight_distance",
    **dict.fromkeys((*TEXTS, TEXT_BYTES), ""),
}


@dataclass(frozen=True)
class ReleasedFolder:
    """The files of a release that were found.

    Fields:
      root: the folder in which they were found.
      paths: the path of each by its name.
      nested: whether they are in the folders logp/, model_info/, tsne/ and weight_distance/.
      foreign: data files beside them that are not part of the release.
    """

    root: Path
    paths: dict[str, Path]
    nested: bool
    foreign: tuple[Path, ...]

    def path(self, name: str) -> Path | None:
        """The path of a file; None if it was not found."""
        return self.paths.get(name)


def find_files(folder: Path) -> ReleasedFolder:
    """Finds the files of a release in a folder, in its data/, or in kl-scale/data/.

    Raises InputError if there is none, or if one is in two places.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: not a folder: name the folder of the released data", field="released"
        )
    for root in (folder, folder / "data", folder / "kl-scale" / "data"):
        found = {
            name: [path for path in dict.fromkeys((root / inner / name, root / name))
                   if path.is_file()]
            for name, inner in FOLDERS.items()
        }  # fmt: skip
        paths = {name: places[0] for name, places in found.items() if places}
        if not any(name in paths for name in VECTORS):
            continue
        for places in found.values():
            if len(places) > 1:
                raise InputError(f"{places[0]} and {places[1]}: one file twice: remove one of them")
        nested = any(path.parent != root for path in paths.values())
        return ReleasedFolder(root, paths, nested, _foreign(root, set(paths.values())))
    raise InputError(
        f"{folder}: holds none of {', '.join(VECTORS)}, neither itself nor in data/ or logp/: "
        "name the folder of the released data",
        field="released",
    )


def _foreign(root: Path, known: set[Path]) -> tuple[Path, ...]:
    """The data files in the folders of a release that are not part of it."""
    folders = {root, *(root / inner for inner in FOLDERS.values() if inner)}
    return tuple(
        path
        for folder in sorted(folders)
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in (".pkl", ".json", ".jsonl") and path.is_file() and path not in known
    )
