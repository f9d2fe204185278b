"""PostgreSQL and Valkey on loopback, and the processes of one machine: for a trial, for work on the code, for tests."""
