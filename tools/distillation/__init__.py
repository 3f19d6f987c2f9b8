"""Training by the features of a teacher, in PyTorch on a GPU."""
