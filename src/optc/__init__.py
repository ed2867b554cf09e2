"""optc: an optimizing compiler for trained models."""
