"""The demo: a real event stream through the whole platform, shown live."""
