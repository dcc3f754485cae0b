"""The same policies and requests to our sidecar's outbound side and to Envoy; what each made of them is compared.

`tables.py` makes route tables up, as documents; `asks.py` requests to them, and what the upstreams are to do at each
attempt; `translate.py` writes the documents as Envoy's configuration. `upstream.py` plays the upstreams, `sides.py`
starts both, `play.py` asks and `judge.py` compares: the route, the request that arrives, the number of attempts, the
answer. `explained.py` names the differences that are meant (docs/envoy-differences.md has the reasons).
"""
