"""Families of models as data: one page (module) for each family.

A page has the facts of its family, the names of its tensors, and the keys of config.json that are
inert, that is, cannot change a logit.
"""
