"""The version of the project, which the service and its client share."""

__version__ = "0.1.0"
