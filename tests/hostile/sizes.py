"""How much of it `make test` plays."""

from mbuf import compiled

#: The seed of the sample.
SEED = 12
#: Chunks of 2,000 drawn cases; uncompiled they take several times as long.
CHUNKS = 10 if compiled() else 2
#: How many failures are injected at least; uncompiled, one row of so many is played.
FAILURES = 20_000 if compiled() else 500
EVERY = 1 if compiled() else 4
