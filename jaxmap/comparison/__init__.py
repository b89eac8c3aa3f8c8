"""`jaxmap compare`: how two models that share a tokenizer differ, token by token."""
