"""Language models inside checkpoints of several modalities, scored as the text models they are.

Of config.json its `text_config` says what the language model is, under a type of its own; whatever
stands beside it is about pictures or sound and how they become tokens. So are all tensors but the
language model's, whose names begin otherwise in every library and version.

module      content
containers  a row for each type of a whole checkpoint
text_types  the types of language models that exist inside such checkpoints only
nesting     the page of a container around a language model: its Spec and the names of its tensors
"""

from __future__ import annotations

from jaxmap.architectures.multimodal.containers import CONTAINERS
from jaxmap.architectures.multimodal.nesting import page

FAMILIES = {kind: page(kind, container) for kind, container in CONTAINERS.items()}
