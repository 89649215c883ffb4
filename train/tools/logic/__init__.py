"""The task types of the environment `lgc-v2`, one module each; `families.py` lists them."""
