"""Small ISO 9660 images: what cloud-init reads its data from, and how configuration files reach a guest as a disk.

With Rock Ridge and Joliet names, as `xorrisofs -joliet -rational-rock` makes them. A few milliseconds each.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import pycdlib

NO_CLOUD_LABEL = "cidata"
CONFIG_DRIVE_LABEL = "config-2"


def iso_image(files: Mapping[str, bytes], label: str) -> bytes:
    """An image that holds `files`: relative paths (`openstack/latest/user_data`) to contents. `label`: volume id."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
    made: dict[str, str] = {"": ""}
    for number, (path, content) in enumerate(files.items()):
        folder, _, name = path.strip("/").rpartition("/")
        parent = _directory(iso, folder, made)
        iso.add_fp(
            io.BytesIO(content),
            len(content),
            # Names of plain ISO 9660 are short and upper case; nobody reads them, so a number does.
            f"{parent}/F{number:07d}.;1",
            rr_name=name,
            joliet_path="/" + path.strip("/"),
        )
    target = io.BytesIO()
    iso.write_fp(target)
    iso.close()
    return target.getvalue()


def _directory(iso: pycdlib.PyCdlib, path: str, made: dict[str, str]) -> str:
    """Make the folder and its parents; its ISO 9660 path."""
    if path in made:
        return made[path]
    above, _, name = path.rpartition("/")
    short = f"{_directory(iso, above, made)}/D{len(made):07d}"
    iso.add_directory(short, rr_name=name, joliet_path=f"/{path}")
    made[path] = short
    return short
