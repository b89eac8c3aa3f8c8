"""Kernels of our own, for one platform each, beside the plain code that they must agree with."""
