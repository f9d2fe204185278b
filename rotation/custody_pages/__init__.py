"""The pages of KEKs, DEKs, orders, re-wrap jobs and sources elsewhere. They count wrappings and never read one."""
