"""Services that several people decide on: only an approved request, being carried out, calls them."""
