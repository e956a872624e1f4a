"""What Sluice's HTTP services share: problem answers, request bodies, probes, metrics, the server.

Needs falcon and gunicorn, which only the services that listen depend on; nothing else in this library
imports this package.
"""
