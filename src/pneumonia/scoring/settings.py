"""Defaults of batch scoring; imported by the command line, so that it imports nothing heavy."""

SHARD_SIZE = 1000
"""Images in a shard."""
