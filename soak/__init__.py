"""Long mixed load through two sidecars in a row, with apps that die: `make soak MINUTES=30`.

    clients ─► outbound sidecar ─► inbound sidecar ─► app     (HTTP: two instances, gRPC: one)

`__main__.py` is the run; `world.py` starts and restarts the processes; `http1.py`, `http2.py`, `calls.py` and
`websocket.py` are the clients; `ledger.py` judges what they saw; `leaks.py` compares the sidecars after with before.
"""
