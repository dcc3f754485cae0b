"""Remora beside Envoy, nginx, HAProxy and a plain aiohttp proxy, on this machine: `python -m bench`.

One core runs the proxy under test, the other one the load and the backend. Contestants take turns within each round, so
that a slow minute of the machine hits all of them alike; what counts is the ratio to Envoy within one run.
"""
