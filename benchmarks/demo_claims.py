"""Does the demo keep its promise: is `instructrec` above every rival that sees the same input?

Reads the report of a finished run and fails where the paired 95 % interval of a difference in HR@1
is not above 0. `fused-without-lm` and our own rows are shown, not required.

    python benchmarks/demo_claims.py runs/demo
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from instructrec.evaluation.report import LM, WITHOUT_LM


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    report = json.loads((parser.parse_args().run / "report" / "report.json").read_text())
    table = Table("scenario", "rival", "difference in HR@1", "95 %", "holds")
    broken = 0
    for found in report["differences"]:
        if found["model"] != "instructrec" or found["metric"] != "HR@1":
            continue
        low, high = found["interval"]
        required = found["other"] not in (LM, WITHOUT_LM)
        holds = low > 0
        broken += required and not holds
        told = ("yes" if holds else "NO") if required else ("yes" if holds else "no, as it may")
        interval = f"{low:+.4f} to {high:+.4f}"
        table.add_row(
            found["scenario"], found["other"], f"{found['difference']:+.4f}", interval, told
        )
    Console().print(table)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
