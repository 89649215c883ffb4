"""Speed and memory of the converters, against a bare read and write of the same file by pyarrow.

    .venv/bin/python benchmarks/converters.py                                  # small: seconds
    .venv/bin/python benchmarks/converters.py --gb 1 --gb 10 --json benchmarks/results/converters.json

Every run is a process of its own. `ratio` is the time of the bare copy over the converter's (1: as fast; the aim is 0.5
or more), and the median of the repeats; `cpu` is the same of processor time, which other work on the machine changes
less. `peak` is the greatest resident memory of the converter, its worker processes and the pages that they share
counted in each (the aim is under 500 MiB).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "data_processing"
TRAJECTORIES = (str(TOOLS / "convert_swe_synth_sft.py"), "--dataset", "{input}", "--output-dir", "{output}")
TASKS = (str(TOOLS / "convert_to_parquet.py"), "--input", "{input}", "--out-dir", "{output}", "--val-ratio", "0.05")
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "calls, prompt-response": ("calls.parquet", (*TRAJECTORIES, "--val-ratio", "0.05")),
    "calls, messages": ("calls.parquet", (*TRAJECTORIES, "--val-ratio", "0.05", "--format", "messages")),
    "runs, prompt-response": ("runs.parquet", (*TRAJECTORIES, "--val-ratio", "0.05")),
    "runs, messages": ("runs.parquet", (*TRAJECTORIES, "--val-ratio", "0.05", "--format", "messages")),
    "tasks, rl": ("tasks.jsonl", (*TASKS, "--format", "rl")),
    "tasks, sft": ("tasks.jsonl", (*TASKS, "--format", "sft")),
    "tasks, sft, shuffled": ("tasks.jsonl", (*TASKS, "--format", "sft", "--shuffle")),
}
MAKERS = {
    "calls.parquet": "write_trajectories(path, size, every_call=True)",
    "runs.parquet": "write_trajectories(path, size, every_call=False)",
    "tasks.jsonl": "write_tasks(path, size)",
}


@dataclass(frozen=True)
class Run:
    seconds: float
    cpu_s: float
    peak_mib: float


def measure(command: list[str], env: dict[str, str] | None = None) -> Run:
    """Run it to its end. Raises CalledProcessError."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, text=True)
    peak = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        peak = max(peak, _resident_bytes(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    assert process.stderr
    errors = process.stderr.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors)
    return Run(seconds, usage.ru_utime + usage.ru_stime, peak / 2**20)


def _resident_bytes(pid: int) -> int:
    """Of the process and of those that it has started; the most that each ever had, where it is alone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    wanted = "VmRSS:" if children else "VmHWM:"
    own = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(wanted)), 0)
    return own + sum(_resident_bytes(int(child)) for child in children)


def make_input(path: Path, size: float) -> None:
    """In a process of its own, as memory that this one takes would be counted to those that it starts."""
    code = f"from pathlib import Path; from made_data import *; path, size = Path({str(path)!r}), {size}; "
    command = [sys.executable, "-c", code + MAKERS[path.name]]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})


def compare(case: str, source: Path, gigabytes: float, repeats: int) -> dict[str, str | float]:
    """One row of the table."""
    output = source.parent / "output"
    command = [sys.executable, *(part.format(input=source, output=output) for part in CASES[case][1])]
    bare, converter = [], []
    for _ in range(repeats):
        bare.append(measure([sys.executable, __file__, "--copy", str(source), str(source.parent / "copy.parquet")]))
        converter.append(measure(command))
    return {
        "case": case,
        "gb": gigabytes,
        "bare_s": statistics.median(run.seconds for run in bare),
        "converter_s": statistics.median(run.seconds for run in converter),
        "ratio": statistics.median(b.seconds / c.seconds for b, c in zip(bare, converter, strict=True)),
        "cpu_ratio": statistics.median(b.cpu_s / c.cpu_s for b, c in zip(bare, converter, strict=True)),
        "peak_mib": max(run.peak_mib for run in converter),
        "bare_peak_mib": max(run.peak_mib for run in bare),
        "repeats": [{"bare": asdict(b), "converter": asdict(c)} for b, c in zip(bare, converter, strict=True)],
    }


def copy(source: Path, target: Path) -> None:
    """The bare read and write: parquet row group by row group, JSON lines block by block."""
    import pyarrow.json
    import pyarrow.parquet as pq

    if source.suffix == ".parquet":
        file = pq.ParquetFile(source)
        with pq.ParquetWriter(target, file.schema_arrow) as writer:
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))
        return
    reader = pyarrow.json.open_json(source, read_options=pyarrow.json.ReadOptions(block_size=16 << 20))
    with reader, pq.ParquetWriter(target, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, action="append", help="size of the input; repeatable (default: 0.05)")
    parser.add_argument("--cases", default=";".join(CASES), help="with semicolons between them (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="for the files, which are removed (default: the temporary folder)")
    parser.add_argument("--json", type=Path, help="rows of other sizes and cases that the file has are kept")
    parser.add_argument("--copy", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.copy:
        return copy(*args.copy)
    cases = args.cases.split(";")
    rows = []
    print(f"{'case':<24} {'GB':>5} {'bare s':>8} {'s':>8} {'ratio':>6} {'cpu':>6} {'peak MiB':>9}")
    for gigabytes in args.gb or [0.05]:
        for name in dict.fromkeys(CASES[case][0] for case in cases):
            with tempfile.TemporaryDirectory(dir=args.folder, prefix="converters-") as folder:
                source = Path(folder) / name
                make_input(source, gigabytes * 1e9)
                for case in (case for case in cases if CASES[case][0] == name):
                    row = compare(case, source, gigabytes, args.repeats)
                    rows.append(row)
                    print(
                        f"{case:<24} {gigabytes:>5g} {row['bare_s']:>8.1f} {row['converter_s']:>8.1f} "
                        f"{row['ratio']:>6.2f} {row['cpu_ratio']:>6.2f} {row['peak_mib']:>9.0f}",
                        flush=True,
                    )
    if args.json:
        measured = {(row["case"], row["gb"]) for row in rows}
        earlier = json.loads(args.json.read_text()) if args.json.exists() else []
        kept = [row for row in earlier if (row["case"], row["gb"]) not in measured]
        args.json.write_text(json.dumps(sorted(kept + rows, key=order_of), indent=1) + "\n")


def order_of(row: dict[str, str | float]) -> tuple[float, int]:
    return float(row["gb"]), list(CASES).index(str(row["case"]))


if __name__ == "__main__":
    main()
