"""Prints how many lines and branches of each layer the tests have reached; exits with 1 where those are too few.

coverage json -o - | python tests/covered.py
"""

import json
import sys
from collections import Counter, defaultdict

#: The least that may be reached, in percent.
LINES, BRANCHES = 100, 97


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


def main() -> int:
    layers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, found in json.load(sys.stdin)["files"].items():
        layers[path.split("/")[-2]].update({k: n for k, n in found["summary"].items() if isinstance(n, int)})
    too_few = False
    for layer, count in sorted(layers.items()):
        lines = percent(count["covered_lines"], count["num_statements"])
        branches = percent(count["covered_branches"], count["num_branches"])
        print(f"{layer:8} lines {lines:6.2f} % of {count['num_statements']}", end=", ")
        print(f"branches {branches:6.2f} % of {count['num_branches']}")
        too_few |= lines < LINES or branches < BRANCHES
    return int(too_few or not layers)


if __name__ == "__main__":
    sys.exit(main())
