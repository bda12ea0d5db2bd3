"""Training of the networks: `python -m training`, see docs/training.md."""

import os

# While one core loads, a computing thread that spins for its fellows takes that core from them:
# sleeping gave a tenth more crops a second on two cores, loading included (and computing alone a
# seventh fewer). Read by OpenMP when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
