"""How many cases `make test` runs."""

from mbuf import compiled

#: The seed of the sample.
SEED = 12
#: Chunks of 2,000 random cases; uncompiled they take several times as long.
CHUNKS = 10 if compiled() else 2
#: The least number of refused requests; uncompiled, only every EVERY-th case is run.
FAILURES = 20_000 if compiled() else 500
EVERY = 1 if compiled() else 4
#: Cases of `mbuf.net`.
NET_CASES = 600
