"""convert_to_parquet.py's machinery: JSON files of any fields to prompts with answers, in flat memory.

survey (field_survey.py) → plan (conversion_plan.py): which fields become what, decided once for the whole input
block of JSON lines (json_blocks.py, json_objects.py) → batch (block_mapping.py, sample_rows.py, and sample_columns.py
where all rows are plain)
blocks over processes → train and validation files (conversion.py, block_exchange.py)
"""
