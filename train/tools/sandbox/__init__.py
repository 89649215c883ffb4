"""Where programs run that a model wrote: they see a copy of one folder, no network and no other process."""
