"""Programs for developers: they import `app` and are never imported by it."""
