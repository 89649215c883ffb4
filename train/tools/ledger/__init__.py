"""What a run's directory knows of the run: the files that its starts and exits leave.

train/artifacts/RL/checkpoints/my-run/
    run.json                  what the run is (`identity.py`) and its id at Weights & Biases
    starts.jsonl              one line a start: command, environment, versions, commit, seeds (`records.py`)
    exits.jsonl               one line an exit: status, signal, reason in words, last step
    config.yaml               the resolved config; config-N.yaml is that of start N
    metrics.jsonl             each step once, in order (`metrics_file.py`)
    metrics-replaced.jsonl    the steps that a later start has done again
    total_steps.txt           the step at which it ends
    .lock                     held (flock) while it runs

The scripts write them with `train/tools/run_ledger.py`; `train/scripts/runs.sh` reads them. Secrets are masked.
"""
