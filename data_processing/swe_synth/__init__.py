"""convert_swe_synth_sft.py's machinery: rows of trajectories (trajectories.py), which of them are written
(run_table.py), and how long they may be (length_limits.py).
"""
