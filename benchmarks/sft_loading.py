"""What SFT's data loading costs: the start (reading and tokenising), and a batch against the step that it feeds.

    .venv/bin/python benchmarks/sft_loading.py --json benchmarks/results/sft_loading.json
    tokenising  rows/s  MB/s   then from the cache  s
    batch       ms (32 rows of 2,048 tokens, through verl's own loader and collator)
    step        s  forward and backward of the model alone, of 1/16 of that batch;  share …

The step is a lower bound of verl's (no optimizer, no clipping), so the share is an upper one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import OmegaConf
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer
from verl.utils.dataset.dataset_utils import SFTTensorCollator
from verl.utils.import_utils import load_extern_object

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "train" / "tools"))  # sft-dataset.py imports from there
BATCH, LENGTH = 32, 2048
WORDS = "the model reads this row and says what the right answer to it would be, one line after another\n"


def write_rows(file: Path, rows: int) -> int:
    """Prompts and answers that fill LENGTH tokens or nearly so; returns the bytes of their text."""
    prompt, response = WORDS * 60, WORDS * 20
    table = pa.table({"prompt": [f"{i}: {prompt}" for i in range(rows)], "response": [response] * rows})
    pq.write_table(table, file, row_group_size=100)
    return rows * (len(prompt) + len(response))


def make_dataset(file: Path, tokenizer: Any, cache: Path) -> Any:
    config = OmegaConf.create(
        {
            "train_files": [str(file)],
            "train_batch_size": BATCH,
            "max_length": LENGTH,
            "truncation": "right",
            "pad_mode": "no_padding",
            "cache_dir": str(cache),
        }
    )
    return load_extern_object(str(ROOT / "train/tools/sft-dataset.py"), "SFTDataset")(
        config.train_files, tokenizer, config
    )


def seconds_per_batch(data: Any) -> list[float]:
    loader = StatefulDataLoader(data, BATCH, shuffle=True, drop_last=True, collate_fn=SFTTensorCollator("no_padding"))
    times, batches = [], iter(loader)
    while True:
        started = time.perf_counter()
        if next(batches, None) is None:
            return times
        times.append(time.perf_counter() - started)


def seconds_per_step(model_dir: Path, data: Any, rows: int) -> float:
    """Forward and backward of `rows` rows, as verl runs it: fp32 weights, bfloat16 arithmetic."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).to(device)
    length = min(len(data[i]["input_ids"]) for i in range(rows))
    ids = torch.stack([data[i]["input_ids"][:length] for i in range(rows)]).to(device)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16):
            model(input_ids=ids, labels=ids).loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "train/models/SmolLM2-135M-Instruct")
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--step-rows", type=int, default=2, help="rows of the timed step (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as folder:
        file, cache = Path(folder) / "rows.parquet", Path(folder) / "cache"
        size = write_rows(file, args.rows)
        started = time.perf_counter()
        make_dataset(file, tokenizer, cache)
        first = time.perf_counter() - started
        started = time.perf_counter()
        data = make_dataset(file, tokenizer, cache)
        again = time.perf_counter() - started
        batch = statistics.median(seconds_per_batch(data))
        step = seconds_per_step(args.model, data, args.step_rows) * BATCH / args.step_rows
    result = {
        "rows_per_s": args.rows / first,
        "mb_per_s": size / first / 1e6,
        "from_cache_s": again,
        "batch_ms": batch * 1e3,
        "step_s": step,
        "share": batch / step,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    print(
        f"tokenising  {result['rows_per_s']:,.0f} rows/s, {result['mb_per_s']:.1f} MB/s; from the cache {again:.1f} s"
    )
    print(f"batch       {result['batch_ms']:.2f} ms for {BATCH} rows of up to {LENGTH} tokens")
    print(f"step        {step:.2f} s at least ({result['device']}); share of loading {result['share']:.3%} at most")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
