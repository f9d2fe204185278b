"""Reads for the pages of KEKs, DEKs, jobs and sources. None of them reads a wrapped byte or opens a key store."""
