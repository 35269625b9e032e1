"""Whether the kernels compute what the reference does: shapes to try, and bounds of errors."""
