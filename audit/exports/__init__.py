"""The log on its way out: as files for auditors, and as a stream for a SIEM (docs/exports.md)."""
