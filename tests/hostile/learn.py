"""Writes which cases of the sample, and which failures, go wrong today, to leave them out until they hold.

python -m hostile.learn [--keep]      keeps the lines that are there, and adds to them
"""

from collections import Counter
from itertools import islice

from hostile.drive import Tally, chunks, play
from hostile.failures import rows
from hostile.known import HERE, known
from hostile.run import table
from hostile.sizes import CHUNKS, EVERY, SEED
from mbuf import compiled


def main() -> None:
    """Play all that `make test` plays, and write the list."""
    home = HERE / ("known.txt" if compiled() else "known_pure.txt")
    kept = home.read_text("utf-8").splitlines()[1:] if home.exists() else []
    found: dict[str, Counter[str]] = {}
    tallies: list[Tally] = [play(chunk) for chunk in islice(chunks(SEED), CHUNKS)]
    tallies.append(play([case for n, case in enumerate(rows(table())) if n % EVERY == 0 and not known(case)]))
    for tally in tallies:
        for failure in tally.failures:
            found.setdefault(f"{failure.case.member} {failure.case.hook}", Counter())[failure.kind] += 1
    lines = [f"{where} * {','.join(sorted(kinds))}" for where, kinds in found.items()]
    head = "# MEMBER HOOK ACT REASON: cases that are known to go wrong, which `make test` leaves out. It only shrinks."
    home.write_text("\n".join([head, *sorted({*kept, *lines})]) + "\n", "utf-8")
    print(f"{sum(t.reached for t in tallies)} cases, {len(lines)} new lines")


if __name__ == "__main__":
    main()
