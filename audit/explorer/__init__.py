"""The page that looks into the log: what may be asked, how it is found, and what is shown of one event."""
