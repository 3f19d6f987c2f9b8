"""Compiled models: made from weights, or by others, and how to look into one."""
