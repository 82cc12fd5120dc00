"""Where services live: workloads that agents register. Each registry is a stream of catalogues."""
