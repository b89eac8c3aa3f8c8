"""Families as data: one page each, with the facts, the tensor names and the inert keys."""
