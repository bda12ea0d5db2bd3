"""training."""

import os

# While one core loads, a computing thread that spins for its fellows takes that core from them:
# sleeping made a step on two cores a fifth shorter. Read by OpenMP when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
