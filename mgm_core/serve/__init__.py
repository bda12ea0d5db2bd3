"""Cut-outs over HTTP, for programs: `python -m mgm_core.serve`."""
