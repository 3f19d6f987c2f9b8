"""The Python client of the service: `Client` waits for answers, `AsyncClient` awaits them."""

from app.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
