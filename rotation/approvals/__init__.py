"""The engine of approvals: asking, voting, ending and carrying out requests for guarded operations."""
