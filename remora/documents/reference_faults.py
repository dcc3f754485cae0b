"""What the reference says in words about FaultPolicy."""

from __future__ import annotations

TIME_FORM = "a time of RFC 3339 such as 2026-12-01T18:00:00Z"

FAULT_POLICY = """\
Failures made on purpose, at the callers of the services that it names: to see whether a caller bears a slow or failing
service before it has to. A request has one fault at most. The faults that match a request take their shares side by
side: with 10 and then 5 percent, 10 of 100 requests have the first fault, 5 others the second. Of several FaultPolicies
of a service all count, in the order of their names.

A delay comes first and is part of the request's time; an abort is answered by the caller's own sidecar, with the flag
`FI` and `x-mesh-error: fault_injected`, and nothing reaches the service. A delayed request that then goes well counts
with the flag `DI`. Neither is retried, and neither speaks against an instance.

Three ways to stop it: `enabled: false`, the time `expires`, and `sidecar run --faults off` for sidecars that must never
do this, whatever a document says.

```yaml
apiVersion: mesh.remora.dev/v1alpha1
kind: FaultPolicy
metadata:
  name: slow-prices
spec:
  targetRefs:
    - {kind: Service, group: "", name: prices}
  expires: 2026-12-01T18:00:00Z          # forgotten experiments end by themselves
  faults:
    - matches:
        - headers: [{name: x-experiment, value: slow}]
      delay: 2s
    - percent: 5
      abort: {status: 503}
```
"""

DEFAULTS: dict[str, str] = {
    "FaultPolicySpec.enabled": "`true`",
    "FaultPolicySpec.expires": "never",
    "InjectedFault.matches": "everything",
    "InjectedFault.delay": "none",
    "InjectedFault.abort": "none",
    "Abort.status": "by `grpcStatus`",
    "Abort.grpcStatus": "by `status`",
}

MEANINGS: dict[str, str] = {
    "FaultPolicySpec.targetRefs": "the services whose callers do this, of the policy's own namespace; at least one",
    "FaultPolicySpec.faults": "what they do; at least one",
    "FaultPolicySpec.enabled": "`false` stops it at once",
    "FaultPolicySpec.expires": "when it ends by itself",
    "InjectedFault.matches": "which requests: any one of these",
    "InjectedFault.percent": "of these requests",
    "InjectedFault.delay": "how long a request is held up before it goes on",
    "InjectedFault.abort": "what is answered instead of the service",
    "Abort.status": "to HTTP requests",
    "Abort.grpcStatus": "to gRPC calls",
}
