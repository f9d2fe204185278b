"""The only door to the key stores: which KEK, which version, which context, and whether what comes back is bound."""
