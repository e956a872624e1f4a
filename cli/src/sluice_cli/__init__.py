"""The `sluice` command: the whole platform on one machine."""
