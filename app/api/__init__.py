"""The service over HTTP: routes, request bodies, responses, problems, keys and pages."""
