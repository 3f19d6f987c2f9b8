"""The command line, `mobilenet`: a module for each larger command, and what they share."""
