"""Sockets and processes: the only package that knows uvicorn."""
