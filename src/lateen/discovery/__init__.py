"""xDS: the sans-IO protocol machine, the hub of scopes and streams, and the gRPC edge."""
