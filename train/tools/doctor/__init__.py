"""Says why this machine cannot train, before anything is downloaded or loaded: `make doctor`.

    bash train/scripts/doctor.sh
    fail  flash-attn  flash_attn_2_cuda: undefined symbol: _ZN3c105ErrorC2ENS_14SourceLocationE…
                      it was built against another torch than the installed 2.11.0
                      fix: …/pip uninstall -y flash-attn && make setup

`context.py` is what the checks share, `lines.py` what they answer with; each other module is one thing to look at. The
standard library is all that they use, and any Python from 3.9 runs them: what is to be found broken may be the packages
or the Python that the scripts have chosen, which is asked in a process of its own.
"""
