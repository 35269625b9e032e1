"""What `benchmarks/gpu_check` measures on a GPU, stage by stage; see `command.py`."""
