"""Learners: one file each, one line in :mod:`sluice_trainer.learners.registry`."""
