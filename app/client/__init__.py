"""The Python client of the service: `Client` blocks until an answer comes, `AsyncClient` is for asyncio."""

from app.client.asynchronous import AsyncClient
from app.client.client import Client
from app.client.images import Image
from app.client.many import Item

__all__ = ["AsyncClient", "Client", "Image", "Item"]
