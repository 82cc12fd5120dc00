"""Documents to model: parse, default and validate what users write. Takes bytes, never files.

One module per API group holds the frozen structs (every field of the schema); `parse` turns bytes into objects
and findings; nothing here knows the mesh, Envoy or the network.
"""
