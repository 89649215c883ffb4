"""Software repair: rows of SWE-bench, patches, and the tests that judge them. The environment: swe_synth_adapter.py"""
