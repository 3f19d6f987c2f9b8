"""Image files by format: what each is made of, what decoding it costs, and opening it."""
