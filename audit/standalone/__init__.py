"""What auditors run on their own machine, without this application."""
