"""Long mixed load through two sidecars in a row, with trouble: `make soak`, or `python -m soak --minutes 5 --seed 1`.

    clients ─► the caller's sidecar ─► an instance's sidecar ─► its app     (three services: HTTP, gRPC, bytes)

`__main__.py` prints how it went; `run.py` is one soak: warm up, look, load, look again. `network.py` keeps others out,
`world.py` starts and ends the parts, `trouble.py` decides what happens to them. `load.py` runs the clients of
`http1.py`, `http2.py`, `calls.py`, `websocket.py` and `tcp.py`; `ledger.py` judges what they saw, `leaks.py` what the
sidecars hold. `app.py` are the apps.
"""
