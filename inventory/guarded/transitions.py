"""Changes of a key's state, and of its period of use, that one person must not make."""
