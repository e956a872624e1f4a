"""The commands of ``sluice``. Each module imports what is heavy only when its command runs."""
