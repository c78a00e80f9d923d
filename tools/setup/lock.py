"""Write requirements/*.txt anew: exact versions with hashes, by uv in an environment of its own (`make lock`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "kumo.txt": ["pyproject.toml"],
    "dev.txt": ["pyproject.toml", "requirements/dev.in"],
    "openstack.txt": ["requirements/openstack.in"],
    "kubernetes-clients.txt": ["requirements/kubernetes-clients.in"],
}


def main() -> None:
    """Lock every file."""
    environment = ROOT / ".cache" / "uv"
    uv = environment / "bin" / "uv"
    if not uv.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "uv"], check=True)
    options = ["--generate-hashes", "--upgrade", "--no-emit-index-url", "--no-emit-find-links", "--quiet"]
    for name, sources in FILES.items():
        target = f"requirements/{name}"
        command = [str(uv), "pip", "compile", *sources, *options, "--python", sys.executable, "-o", target]
        subprocess.run([*command, "--custom-compile-command", "make lock"], cwd=ROOT, check=True)
        print(f"locked {target}")


if __name__ == "__main__":
    main()
