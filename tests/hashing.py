"""Passwords of tests: hashed as in production, but at the least cost, for thousands of sign-ins."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class CheapHasher(Argon2PasswordHasher):
    """The real algorithm; what a guess costs is tested with the real hasher."""

    time_cost, memory_cost, parallelism = 1, 8, 1
