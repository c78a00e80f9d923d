from __future__ import annotations

import io

import pycdlib
import pytest

from kumo.host.cloud_init import iso_image

pytestmark = pytest.mark.component

FILES = {
    "openstack/latest/meta_data.json": b"{}",
    "openstack/latest/user_data": b"#cloud-config\n",
    "user-data": b"x" * 5000,
    "a name with spaces and ÜÖ.txt": b"",
}


@pytest.mark.parametrize("facade", ["get_joliet_facade", "get_rock_ridge_facade"])
def test_what_goes_in_comes_out(facade: str) -> None:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(iso_image(FILES, "config-2")))
    view = getattr(iso, facade)()
    try:
        for path, content in FILES.items():
            out = io.BytesIO()
            view.get_file_from_iso_fp(out, f"/{path}")
            assert out.getvalue() == content
    finally:
        iso.close()


def test_the_label_is_where_blkid_looks() -> None:
    image = iso_image({"meta-data": b""}, "cidata")
    assert image[32768 + 1 : 32768 + 6] == b"CD001"
    assert image[32768 + 40 : 32768 + 72].rstrip() == b"cidata"
