"""What the converters and the dataset tools share: rows from files or the hub, and parquet files that are there whole.

source = open_source("org/name", split="train")        # row_source.py: files, folders, the hub
for batch in source.batches(["prompt"]): …             # Arrow, of bounded bytes
with parquet_files({"train": path}, schema) as out: …  # parquet_output.py: all files, or none
"""
