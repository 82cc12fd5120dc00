"""A probe's command: succeeds if something listens on a port of loopback here, in the network where this runs."""

from __future__ import annotations

import socket
import sys

socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
