"""What can go wrong on this machine; the text is a sentence for the person at the terminal."""


class LocalError(Exception):
    """The engines or a process could not be started or kept running."""
