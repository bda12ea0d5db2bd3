"""Serve cut-outs over HTTP, for programs.

python -m mgm_core.serve --port 8000
curl -F photo=@photo.jpg http://localhost:8000/cut-out -o cutout.png
curl -F photo=@cat.jpg -F category=cat -F quality=fast http://localhost:8000/cut-out -o cat.png

/openapi.json describes it. Needs the extra serve: pip install 'mgm[serve]'.
"""

import argparse
import math
import sys
from importlib.util import find_spec

from mgm_core.choices import ENGINES
from mgm_core.images import LARGEST_MEGAPIXELS


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    p = argparse.ArgumentParser(
        prog="python -m mgm_core.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    p.add_argument("--port", type=int, default=8000)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    p.add_argument("--engine", choices=ENGINES, default="torch")
    p.add_argument("--at-once", type=int, default=1, metavar="N", help="photographs computed")
    p.add_argument("--places", type=int, default=24, metavar="N", help="that may wait")
    p.add_argument("--share", type=int, default=12, metavar="N", help="at once from one address")
    p.add_argument("--max-megabytes", type=float, default=50.0, help="of a request")
    p.add_argument("--max-megapixels", type=float, default=50.0, help="of a picture")
    p.add_argument("--max-seconds", type=float, default=300.0, help="to compute")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 for a wrong command line."""
    options = parser().parse_args(arguments)
    for package in ("fastapi", "python_multipart", "uvicorn"):
        if find_spec(package) is None:
            sys.stderr.write(
                f"error: the package {package} must be installed to serve: pip install "
                "'mgm[serve]'\n"
            )
            return 2
    import uvicorn

    from mgm_core.engines.sessions import check_engine
    from mgm_core.networks.hardware import resolve_device
    from mgm_core.runtime.admission import Admission
    from mgm_core.serve.app import LANE, Limits, make_app
    from mgm_core.weights import verify_bundled

    try:
        _check(options)
        verify_bundled()
        resolve_device(options.device)
        check_engine(options.engine, options.device, "auto")
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    admission = Admission(
        {LANE: options.at_once}, places=options.places, address_share=options.share
    )
    limits = Limits(options.max_megabytes, options.max_megapixels, options.max_seconds)
    app = make_app(admission, limits, device=options.device, engine=options.engine)
    uvicorn.run(app, host=options.host, port=options.port, timeout_graceful_shutdown=30)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise a ValueError unless the service can answer with these limits."""
    most = {"max_megapixels": LARGEST_MEGAPIXELS}
    if not 0 <= options.port <= 65535:
        raise ValueError(f"--port must be 0 to 65535, got {options.port}: choose another")
    for name in ("at_once", "places", "share", "max_megabytes", "max_megapixels", "max_seconds"):
        value = getattr(options, name)
        if not 0 < value <= most.get(name, math.inf):
            option = f"--{name.replace('_', '-')}"
            limit = f" and at most {most[name]:g}" if name in most else ""
            raise ValueError(
                f"{option} must be above 0{limit}, got {value:g}: leave it out for the usual limit"
            )


if __name__ == "__main__":
    sys.exit(main())
