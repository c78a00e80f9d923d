"""Debian's archive as a source of material: any suite and architecture, by the machine's own mirror.

apt works here with sources, lists and a package database of its own, below a directory of ours; what the machine has
installed, and its configuration, is neither asked nor changed. Nothing is installed, only unpacked.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEPENDS = re.compile(r"^\s*\|?(?:Pre)?Depends: ([a-z0-9][a-z0-9.+-]*)$")


class NoPackages(Exception):
    """Packages can't be had; the message says why and what to do."""


def _run(command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        raise NoPackages(f"{command[0]} is missing: this needs a Debian system") from None


def mirror() -> str:
    """The URL of the Debian mirror that this machine uses. Raises NoPackages if it uses none."""
    form = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"
    done = _run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    for line in done.stdout.splitlines():
        origin, component, codename, uri = [*line.split(" ", 3), "", "", "", ""][:4]
        if origin == "Debian" and component == "main" and "-" not in codename and uri:
            return uri
    raise NoPackages("apt knows no Debian mirror; run `apt-get update` on a Debian machine")


class Archive:
    """One suite of Debian for one architecture. `directory` keeps what apt needs to remember."""

    def __init__(self, directory: Path, suite: str, architecture: str) -> None:
        self._directory = directory
        self._suite = suite
        self._architecture = architecture

    def _options(self) -> list[str]:
        base = self._directory
        settings = {
            "Dir::Etc::SourceList": base / "sources.list",
            "Dir::Etc::SourceParts": "-",
            "Dir::Etc::Preferences": "-",
            "Dir::Etc::PreferencesParts": "-",
            "Dir::State": base / "state",
            "Dir::State::Lists": base / "lists",
            "Dir::State::Status": base / "status",
            "Dir::Cache": base / "cache",
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def update(self) -> None:
        """Fetch the suite's list of packages. Raises NoPackages."""
        for folder in ("lists/partial", "cache/archives/partial", "state"):
            (self._directory / folder).mkdir(parents=True, exist_ok=True)
        (self._directory / "status").touch()
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
        sources = self._directory / "sources.list"
        sources.touch(mode=0o600)
        sources.write_text(f"deb {signed}{mirror()} {self._suite} main\n")
        done = _run(["apt-get", *self._options(), "update", "-q"])
        if done.returncode:
            raise NoPackages(f"can't read the list of Debian {self._suite}: {done.stderr.strip()[-300:]}")

    def depends(self, names: list[str]) -> dict[str, list[str]]:
        """What each package depends on, by name; alternatives all count, virtual packages do not. Raises NoPackages."""
        kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        done = _run(["apt-cache", *self._options(), "depends", *(f"--no-{kind}" for kind in kinds), *names])
        found: dict[str, list[str]] = {}
        current = ""
        for line in done.stdout.splitlines():
            if line and not line[0].isspace():
                current = line.strip()
                found[current] = []
            elif match := _DEPENDS.match(line):
                found[current].append(match.group(1))
        missing = [name for name in names if name not in found]
        if missing:
            raise NoPackages(f"Debian {self._suite} ({self._architecture}) has no package {', '.join(missing)}")
        return found

    def download(self, names: list[str], target: Path) -> None:
        """Fetch the newest version of each package and unpack all of them below `target`. Raises NoPackages."""
        debs = self._directory / "debs"
        debs.mkdir(exist_ok=True)
        done = _run(["apt-get", *self._options(), "download", "-q", *names], cwd=debs)
        if done.returncode:
            raise NoPackages(f"can't download {', '.join(names)}: {done.stderr.strip()[-300:]}")
        target.mkdir(parents=True, exist_ok=True)
        for deb in sorted(debs.glob("*.deb")):
            unpacked = _run(["dpkg-deb", "-x", str(deb), str(target)])
            if unpacked.returncode:
                raise NoPackages(f"can't unpack {deb.name}: {unpacked.stderr.strip()[-300:]}")
            deb.unlink()
