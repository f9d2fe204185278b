"""The pages of key stores, put into the admin site."""

from rotation.custody_pages import dek_admin, job_admin, kek_admin, source_admin

__all__ = ["dek_admin", "job_admin", "kek_admin", "source_admin"]
