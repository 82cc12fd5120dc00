"""HTTP API of the control plane: schemas and routes; the command line and the console talk to it only."""
