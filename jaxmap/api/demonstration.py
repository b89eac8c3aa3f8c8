"""All steps, on models that are trained here: demo."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxmap.api.arguments import Path
from jaxmap.output_paths import check_folder

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from jaxmap.demos.result import DemoRun
    from jaxmap.demos.settings import DemoConfig


def demo(
    out: Path, *, config: Path | Mapping[str, Any] | ConfigDict | DemoConfig | None = None
) -> DemoRun:
    """Trains five small GPT-NeoX models, scores all their checkpoints and maps them.

    The models learn the documentation and source of this Python. Their checkpoints are saved as
    Hugging Face folders; the largest is fine-tuned, with all weights and as a LoRA adapter, and the
    smallest is written as GGUF files. Every model is scored, the last ones also layer by layer, in
    8 and 4 bit and in other precisions; the largest is compared token by token with its copies and
    its fine-tune. A few minutes on two cores; call it again after an
    interruption and it resumes. Checkpoints that cannot be scored do not raise: the store and the
    report name them.

    Args:
      out: the folder for models, store, figures and report.html.
      config: other numbers than the default's: a file as configs/demo.py, or the fields of
        `jaxmap.demos.settings.DemoConfig` that differ.

    Raises InputError for a bad config, where `out` is a file or holds a demo of another config,
    and JaxmapError where training diverges or the disk refuses.
    """
    check_folder(out)
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.demos.run import run_demo
    from jaxmap.demos.settings import DemoConfig, from_dict

    if config is None or isinstance(config, DemoConfig):
        return run_demo(out, config)
    if isinstance(config, str | os.PathLike):
        from jaxmap.sweeps.config_schema import load_config

        fields: Mapping[str, Any] = dict(load_config(os.fspath(config)))
    else:
        fields = dict(config)
    return run_demo(out, from_dict({name: _plain(value) for name, value in fields.items()}))


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value
