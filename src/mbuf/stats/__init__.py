"""Printers of a pool's statistics: each takes a snapshot (`pool.stat()`) and returns text.

`netstat` prints as `netstat -m`, `vmstat` as `vmstat -z`, `openmetrics` and `prometheus` for monitoring systems.
`published` reads the snapshots that other processes publish.
"""
