"""`jaxmap plan`: the memory and time for scoring a model, without the hardware."""
