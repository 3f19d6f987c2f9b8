"""Bulk classification: millions of photos, by Ray, on this machine or on a cluster."""
