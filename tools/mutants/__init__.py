"""Mutation testing: how many small faults in the source the fast tests notice."""
