"""Lateen: a service mesh in Python. Istio's API on stock Envoy, with or without Kubernetes."""
