"""Attention kernels, one for each platform; `mixers.dot_product_attention` is their oracle."""
