"""axe-core, which tells what of a page keeps people out; from the npm registry, by npm."""

import base64
import hashlib
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

AXE = "axe-core@4.14.1"
AXE_SHA512 = (
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]

_RUN = """async (rules) => {
  const found = await axe.run(document, {runOnly: rules, resultTypes: ["violations"]});
  return found.violations.map(({id, nodes}) => [id, nodes.map((node) => node.html.slice(0, 160))]);
}"""


@cache
def axe_source():
    """Return the script; it is an error that it cannot be had, or is another."""
    with TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", "--prefer-offline", "--pack-destination", folder, AXE],
            check=True,
            capture_output=True,
        )
        (packed,) = Path(folder).glob("*.tgz")
        digest = hashlib.sha512(packed.read_bytes()).digest()
        assert base64.b64encode(digest).decode() == AXE_SHA512
        with tarfile.open(packed) as archive:
            return archive.extractfile("package/axe.min.js").read().decode()


def violations(page, ours=lambda rule, markup: True):
    """Return what axe finds on a page: the rule and the elements.

    Args:
        page: Playwright's.
        ours: Tells of a rule and an element's markup whether it counts.
    """
    page.evaluate(axe_source())
    found = {
        rule: [markup for markup in nodes if ours(rule, markup)]
        for rule, nodes in page.evaluate(_RUN, RULES)
    }
    return {rule: nodes for rule, nodes in found.items() if nodes}
