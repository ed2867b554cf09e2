"""The core: what a pass and a target are, and how they are run."""
