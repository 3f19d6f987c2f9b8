"""Tests of `app.oip.grpc`."""
