"""``python -m tests.benchmarks [names…]``: measures, prints the table, exits 2 if a row could not be measured."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.crew import WorkerFailed
from tests.benchmarks.job import FULL, QUICK
from tests.benchmarks.measure import Plan, measure, profile
from tests.benchmarks.report import Result
from tests.benchmarks.row import Row
from tests.benchmarks.rows import ROWS
from tests.benchmarks.server import Server, ServerUnfit
from tests.benchmarks.stores import Stores
from tests.benchmarks.targets import Figure

NOT_MEASURED = 2
PEERS = ("eventsourcing", "simple_history")


def main() -> int:
    given = _parser().parse_args()
    if not given.ours and not all(map(find_spec, PEERS)):
        report.progress("The peers are missing: pip install -r tests/benchmarks/requirements.txt, or give --ours.")
        return NOT_MEASURED
    rows = [row for row in ROWS if not given.names or row.name in given.names]
    scale = QUICK if given.quick else FULL
    try:
        with Server(must_be_durable=not given.quick) as server:
            plan = Plan(scale, Stores(server, scale), given.runs, peers=not given.ours)
            if given.profile:
                print(profile(plan, next(row for row in ROWS if row.name == given.profile)))
                return 0
            head = report.header(server, runs=given.runs, scale=scale)
            results = _results(plan, rows)
    except ServerUnfit as error:
        report.progress(str(error))
        return NOT_MEASURED
    print(report.as_text(head, results))
    if given.json:
        given.json.write_text(json.dumps(report.as_json(head, results), indent=1) + "\n", encoding="utf-8")
    return NOT_MEASURED if any(result.error for result in results) else 0


def _results(plan: Plan, rows: list[Row]) -> list[Result]:
    results: list[Result] = []
    known: dict[tuple[str, str], Figure] = {}
    for row in rows:
        report.progress(f"measuring {row.name}")
        results.append(_result(plan, row, known))
        report.progress("\n".join(report.lines(results[-1])))
    return results


def _result(plan: Plan, row: Row, known: dict[tuple[str, str], Figure]) -> Result:
    try:
        figures = measure(plan, row)
    except WorkerFailed as error:
        return Result(row, error=str(error))
    known |= {(row.name, key): figure for key, figure in figures.items()}
    result = Result(row, figures)
    for target in row.targets:
        verdict = target.judge(row.name, known)
        if verdict is not None:
            result.verdicts.setdefault(target.beside, []).append(verdict)
    return result


def _parser() -> argparse.ArgumentParser:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measures the package beside its peers on PostgreSQL, in turn, and prints a table.",
        epilog=f"Rows: {', '.join(names)}. Exit code 2: a row could not be measured. Missed targets are only marked.",
    )
    parser.add_argument("names", nargs="*", metavar="name", choices=[*names, []], help="Rows to measure; all without.")
    parser.add_argument("--quick", action="store_true", help="Small numbers: only shows that everything runs.")
    parser.add_argument("--ours", action="store_true", help="Without the peers.")
    parser.add_argument("--runs", type=_at_least_one, default=3, help="Samples of each contestant (3).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures there, too.")
    parser.add_argument("--profile", choices=names, metavar="NAME", help="Only show where the time of this row goes.")
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
