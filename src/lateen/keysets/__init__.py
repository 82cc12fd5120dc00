"""Edge: keys that check tokens, fetched from their issuers and kept current. Knows `config` and `model` only."""
