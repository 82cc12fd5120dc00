"""The state of the mesh: immutable, hashed, indexed. Who may reach whom, and which policy selects whom."""
