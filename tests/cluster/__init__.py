"""A real one-node Kubernetes cluster on a bare Debian machine, made of pinned programs: ``python -m cluster``."""
