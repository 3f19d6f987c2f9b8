"""From a request for a prediction to its result: choose a variant, admit, batch, classify. Knows no HTTP."""
