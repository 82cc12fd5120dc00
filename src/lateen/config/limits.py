"""How large an input of configuration may be.

Apart from the reader, so that the commands can stop reading there without loading it.
"""

MAX_BYTES = 16 * 1024 * 1024
"""Size of one input. A dump of ten thousand objects fits."""
