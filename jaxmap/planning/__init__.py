"""`jaxmap plan`: what scoring a model will need, before any hardware is paid for."""
