"""TPUs and GPUs by their vendors' figures, compiling for absent ones, and what a program costs."""
