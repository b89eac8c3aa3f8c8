"""`jaxmap bench`: how fast this machine scores, against what else one would use on it."""
