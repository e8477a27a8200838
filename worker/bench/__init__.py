"""Benchmarks: `innerloop bench`. docs/benchmarks/README.md says what each measures."""
