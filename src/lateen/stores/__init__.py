"""Where configuration lives: memory and directory behind one protocol (list, watch, put, delete)."""
