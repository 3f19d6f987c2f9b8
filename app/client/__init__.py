"""The Python client of the service: `Client` blocks until an answer comes, `AsyncClient` is for asyncio."""

from app.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
