"""Ask for known vulnerabilities of the pinned packages (`make audit`).

Says how many packages were looked up, and how many could not be: a look-up that never happened is
no clean bill. Exit status 1 for a vulnerability; with --strict also for a package that could not
be looked up.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

_TIMEOUT_S = 300


def main() -> int:
    """Run pip-audit and say what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--strict", action="store_true", help="fail where nothing is known, too")
    options = parser.parse_args()
    try:
        run = subprocess.run(  # noqa: S603  (our own arguments)
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", str(options.requirements)),
                *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
                *("--timeout", "15"),
            ],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        packages = json.loads(run.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _not_asked(f"no answer within {_TIMEOUT_S} s", strict=options.strict)
    except (ValueError, KeyError):
        last = (run.stderr.strip().splitlines() or ["no output"])[-1]
        return _not_asked(last[:200], strict=options.strict)
    return _report(packages, strict=options.strict)


def _report(packages: list[dict], *, strict: bool) -> int:
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    found = [(each, vuln) for each in packages for vuln in each.get("vulns", ())]
    for package, vuln in found:
        names = ", ".join([vuln["id"], *vuln.get("aliases", ())])
        fixed = ", ".join(vuln.get("fix_versions", ())) or "no version"
        print(f"{package['name']} {package['version']}: {names}; fixed in {fixed}")
    n_asked = len(packages) - len(skipped)
    print(f"{n_asked} of {len(packages)} packages looked up, {len(found)} vulnerabilities")
    if n_asked == 0:
        return _not_asked("it knows none of the packages", strict=strict)
    if skipped:
        print(f"could not be looked up: {', '.join(skipped)}")
    return 1 if found or (strict and skipped) else 0


def _not_asked(reason: str, *, strict: bool) -> int:
    print(f"NOTHING WAS AUDITED: the advisory service cannot be asked here ({reason})")
    return 1 if strict else 0


if __name__ == "__main__":
    sys.exit(main())
