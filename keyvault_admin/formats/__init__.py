"""How dates and times read where a page leaves it to Django: a day first, 24 hours."""
