"""Attention kernels, one for each platform. Each agrees with `jaxmap.model.mixers.attention`."""
