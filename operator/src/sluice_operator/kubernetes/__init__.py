"""Adapters of the operator's ports to Kubernetes: objects of one namespace, read and written by its API server."""
