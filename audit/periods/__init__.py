"""Closing and dropping of periods: the oldest part of the log leaves as a file, and its partition may go.

A period is one whole partition. Closing exports it and writes down a stub; dropping it is the owner's, by hand, later.
"""
