"""What stands in front of every route: each file has one ASGI middleware, and `app.main` puts them in order."""
