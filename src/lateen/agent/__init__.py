"""Beside the workload: Envoy lifecycle, registration, drain, probes. Small: no grpc, no control-plane room."""
