"""What depends on more than one request: limits, faults, caps, ejection, hashing, sessions, budgets, health checks.

A scene is a service with a policy, and what is done to it: requests one by one or at once, endpoints that fail. It is
played at our sidecar and at Envoy; what its play has noted must be the same. Plays wait for what they have caused, and
note only what chance has no part in. Where we differ on purpose a scene says what our notes must be then.

`scene.py` is the frame, `run.py` plays, all else are kinds of scenes, made by chance.
"""
