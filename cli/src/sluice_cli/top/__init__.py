"""``sluice top``: look at every process, make an overview of two looks, draw it."""
