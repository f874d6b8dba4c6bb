import mbuf.vm  # Before the compiled modules of this package: refuses an interpreter in which they aren't safe.
