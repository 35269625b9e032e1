"""A model of what GPUs make of our CUDA kernels, from their machine code and the emulation."""
