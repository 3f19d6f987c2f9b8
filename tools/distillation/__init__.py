"""Trains networks further on the features of a teacher, in PyTorch on a GPU."""
