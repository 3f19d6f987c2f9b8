"""Repeats experiments of the paper at a small scale, in PyTorch on a CPU or a GPU."""
