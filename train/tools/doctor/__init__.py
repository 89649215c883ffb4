"""Says why this machine cannot train, before anything is downloaded or loaded: `make doctor`.

    bash train/scripts/doctor.sh
    fail  gpu   GPU 0: 74.7 of 85.5 GB are in use by pid 4242 (python, 74.4 GB)
                fix: CUDA_VISIBLE_DEVICES=1 with GPU_COUNT=1, wait for it, or end it

`context.py` is what the checks share, `lines.py` what they answer with; each other module is one thing to look at. The
standard library is all that they use, and any Python from 3.9 runs them: what is to be found broken may be the packages
or the Python that the scripts have chosen, which is asked in a process of its own.
"""
