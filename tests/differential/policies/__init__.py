"""The same policies and requests to our sidecar's outbound side and to Envoy; what each made of them is compared.

`tables.py` makes route tables up, as documents; `asks.py` requests to them, and what the upstreams are to do at each
attempt; `grpc_tables.py` both for gRPC. `translate.py` writes the documents as Envoy's configuration. `upstream.py` and
`grpc_peers.py` play the upstreams on a `stage.py`, `sides.py` starts both proxies, `play.py` asks. `judge.py` compares
the route, the number of attempts, the requests that arrive, the answer. `draws.py` looks at how weights share
requests out. `explained.py` names the differences that are meant (docs/envoy-differences.md has the reasons).

`scenes/` is for what depends on more than one request.
"""
