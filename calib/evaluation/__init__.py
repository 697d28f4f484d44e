"""What comes after the artifact: accuracy, reports, sweeps, benchmarks."""
