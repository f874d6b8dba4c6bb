"""Printers of a pool's statistics: each module has `text` and `json`, which take a snapshot (`pool.stat()`).

`netstat` prints as `netstat -m`, `vmstat` as `vmstat -z`.
"""
