"""A loaded model, and what is known of it: labels, scores, and the self-test it has to pass."""
