"""Puts load on a running service, and measures what it does to the service."""
