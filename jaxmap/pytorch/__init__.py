"""The engine `torch`: transformers' models on PyTorch, for architectures that have no page.

Slower than the decoder on JAX, and chosen by the user only. PyTorch is imported inside functions.
"""
