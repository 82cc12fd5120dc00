"""Explain: what would happen to a request and why, read off the resources that proxies are served.

Pure. Used by `cli` and `api`. It evaluates what `generate` made, never the policies themselves: so what it says is what
Envoy does, and a mistake in translating a policy shows instead of hiding.
"""
