"""GGUF files: header, metadata as a config.json, tensors under Hugging Face's names.

header.py         reads what stands before the numbers
facts.py          the metadata of one architecture, remembering which keys were read
config.py         metadata -> config.json of the family
architectures.py  of each architecture, which metadata is which setting
settings.py       settings that have to be worked out
tensors.py        which tensors of the file make up which of the family's page
undo.py           what the converter did to single tensors, undone
joins.py          tensors that the converter took apart, joined
numbers.py        the numbers, or the blocks, of a tensor
"""
