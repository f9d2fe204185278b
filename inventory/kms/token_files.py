"""Tokens of key stores that lie in files."""

from pathlib import Path

from inventory.kms.errors import DeniedError

LONGEST_TOKEN = 4096


class TokenFile:
    """A token in a file that somebody else keeps fresh, such as the agent of OpenBao. Never shown."""

    def __init__(self, path: Path, *, store: str) -> None:
        self._path, self._store = path, store
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def __repr__(self) -> str:
        return f"<TokenFile {self._store}>"

    def text(self) -> str:
        """Return the token, read again where the file has changed. Raises: DeniedError."""
        try:
            facts = self._path.stat()
            seen = (facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if seen != self._seen:
                self._token, self._seen = self._read(), seen
        except (OSError, UnicodeDecodeError) as error:
            raise DeniedError(f"The token file of the key store {self._store} cannot be read.") from error
        if not self._token:
            raise DeniedError(f"The token file of the key store {self._store} holds no token.")
        return self._token

    def is_renewed(self) -> bool:
        """Read the file whether or not it looks changed, and tell whether it holds another token."""
        before, self._seen = self._token, None
        return self.text() != before

    def _read(self) -> str:
        with self._path.open("rb") as file:
            token = file.read(LONGEST_TOKEN + 1).decode("ascii").strip()
        fits = len(token) <= LONGEST_TOKEN and token.isprintable() and " " not in token
        return token if fits else ""
