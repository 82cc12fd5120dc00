"""Citadel: certificates for identities, the tokens that prove them first, and how a root gives way to the next.

`app` builds it, `cli.demo` and `cli` make tokens with it. It knows `model/` only: neither who is registered nor what is
configured. `issue`, `rotation`, `csr` and `wire` are pure; `authority`, `tokens`, `files` and `service` are the edge.
"""
