"""`python -m mbuf` is the command `mbuf`."""

from mbuf.cli.entry import run

if __name__ == "__main__":
    run()
