"""The documents that people write: Gateway API routes and our own kinds. Parsing, checking, compiling to the model.

parse.py     text → documents, with every fault of every document
shape.py     fields and types, walked so that all faults are found and each is told in people's words
checks.py    what types cannot say about one document
conflicts.py what one document cannot say: two policies for one service
routes.py, policies.py, endpoints.py   documents → parts of the model
load.py      a file → Snapshot
"""
