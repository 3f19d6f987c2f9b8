"""Makes and measures the files of `model_weights/`: weights, int8 models, temperatures, scores and golden answers."""
