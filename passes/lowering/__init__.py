"""Passes that replace an operator by others, on the way to a target."""
