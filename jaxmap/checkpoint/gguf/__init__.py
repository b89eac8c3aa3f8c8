"""GGUF files: header, metadata as a config.json, tensors under Hugging Face's names.

header.py     reads what stands before the numbers
config.py     metadata -> config.json of the family
architectures.py  of each architecture, which metadata is which setting
undo.py       what the converter did to tensors, undone
tensors.py    which tensors of the file make up which of the family's page
"""
