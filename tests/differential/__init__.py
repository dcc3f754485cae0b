"""The same bytes to our sidecar, to Envoy, and to h11 or h2; what came out on the other side is compared.

`corpus.py` has attacks and requests in order, `http2.py` the streams of HTTP/2; `proxies.py` starts the two proxies,
each port with an upstream (`upstream.py`) of its own; `compare.py` plays one stream and judges; `explained.py` names
the differences that are meant. A short cut runs with the tests; the long one is `make differential`.

`policies/` does the same with route tables, retries and timeouts.
"""
