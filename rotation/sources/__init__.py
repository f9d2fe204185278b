"""Sources elsewhere: DEKs in tables of other PostgreSQL databases, looked at, counted and re-wrapped where they are.

    places       which hosts, which address, how TLS is asked for, where the password lies
    connecting   a session there, with its limits; what it answers, in words of ours
    tables       names of table and columns, checked and quoted
    looking      whether it is what was registered, and the login may do no more than it needs
    counting     how many DEKs are under which version: for the interlock, and for pages
    forms        how the other table writes a wrapped DEK
    rewrapping   a range of rows brought under another version
    aftermath    what somebody had swapped who did not live to tell
    registering  what votes decide: that a source is one, and that it is none any more

Everything that connects belongs outside any transaction of ours, but for the look when a source is registered.
"""

from rotation.sources.counting import UNKNOWN, count, count_now, refresh, sources_of, still_needed
from rotation.sources.errors import SourceError
from rotation.sources.looking import look

__all__ = [
    "UNKNOWN",
    "SourceError",
    "count",
    "count_now",
    "look",
    "refresh",
    "sources_of",
    "still_needed",
]
