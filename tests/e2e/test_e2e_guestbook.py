"""The tutorial's guestbook in three tiers (docs/tutorial/guestbook.yaml): applied, signed, killed, rolled."""

from __future__ import annotations

import html
import http.client
import re
import threading
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from support.cloud import ROOT, Cloud, CommandFailed

pytestmark = pytest.mark.e2e
MANIFEST = str(ROOT / "docs" / "tutorial" / "guestbook.yaml")
SPACE = "guestbook"


class Guestbook:
    """The site, by the address of its Ingress."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.kubectl("apply", "-f", MANIFEST)
        for each in ("statefulset/store", "deployment/backend", "deployment/frontend"):
            self.kubectl("rollout", "status", each, "--timeout=120s")
        self.address = str(cloud.wait(self._address, 60, "the address of the Ingress"))
        # haproxy starts with the first Ingress.
        cloud.wait(lambda: self.answers(), 60, "an answer by the Ingress")

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        return self.cloud.kubectl("-n", SPACE, *arguments, check=check).stdout

    def _address(self) -> str:
        return self.kubectl("get", "ingress", SPACE, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")

    def answers(self) -> bool:
        try:
            return self.request("GET")[0] == 200
        except OSError:
            return False

    def request(self, method: str, message: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            body = None if message is None else urlencode({"message": message})
            connection.request(method, "/", body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def sign(self, message: str) -> int:
        return self.request("POST", message)[0]

    def page(self) -> tuple[str, list[str]]:
        """The title and the messages."""
        status, text = self.request("GET")
        assert status == 200, text
        found = re.search("<title>(.*)</title>", text)
        assert found is not None, text
        return found[1], [html.unescape(each) for each in re.findall("^<li>(.*)$", text, re.MULTILINE)]

    def pods(self, tier: str) -> list[str]:
        return self.kubectl("get", "pods", "-l", f"tier={tier}", "-o", "name").split()

    def ask_store(self, tier: str) -> str:
        script = "echo PING | nc -w 2 store 6379"
        return self.kubectl("exec", f"deployment/{tier}", "--", "sh", "-c", script).strip()


@pytest.fixture(scope="module")
def book(cloud: Cloud) -> Iterator[Guestbook]:
    cloud.kubectl("delete", "namespace", SPACE, "--ignore-not-found", "--timeout=60s")
    try:
        yield Guestbook(cloud)
    finally:
        cloud.kubectl("delete", "namespace", SPACE, "--timeout=60s", check=False)


def test_messages_are_kept_as_they_were_written(book: Guestbook) -> None:
    written = ["hello from kumo", "<b>5 & 6</b> %41 \\n * $(id) ü"]
    assert [book.sign(each) for each in written] == [303, 303]
    assert book.sign("") == 400
    assert book.page() == ("Guestbook", written)


def test_the_store_hears_the_back_end_alone(book: Guestbook) -> None:
    assert book.ask_store("backend") == "+PONG"
    with pytest.raises(CommandFailed, match="timed out"):
        book.ask_store("frontend")


def test_messages_outlive_the_stores_pod(book: Guestbook) -> None:
    assert book.sign("before") == 303
    before = book.page()[1]
    uid = book.kubectl("get", "pod", "store-0", "-o", "jsonpath={.metadata.uid}")
    book.kubectl("delete", "pod", "store-0", "--wait=false")
    assert book.sign("meanwhile") == 303  # the back end waits for the next pod
    book.kubectl("rollout", "status", "statefulset/store", "--timeout=60s")
    assert book.kubectl("get", "pod", "store-0", "-o", "jsonpath={.metadata.uid}") != uid
    assert book.page()[1] == [*before, "meanwhile"]


def test_a_rollout_of_the_front_end_loses_nothing(book: Guestbook) -> None:
    before, ended = book.page()[1], threading.Event()
    titles: list[str] = []
    signed: dict[str, int] = {}

    def visit(visitor: int) -> None:
        number = 0
        while not ended.is_set() and number < 500:
            message = f"{visitor}-{number}"
            signed[message] = book.sign(message)
            titles.append(book.page()[0])
            number += 1

    visitors = [threading.Thread(target=visit, args=(n,)) for n in range(3)]
    for each in visitors:
        each.start()
    try:
        book.kubectl("set", "env", "deployment/frontend", "TITLE=Visitors")
        book.kubectl("rollout", "status", "deployment/frontend", "--timeout=60s")
        book.cloud.wait(lambda: len(book.pods("frontend")) == 2, 60, "the old pods gone")
    finally:
        ended.set()
        for each in visitors:
            each.join()
    title, after = book.page()
    assert set(signed.values()) == {303}
    assert sorted(after) == sorted([*before, *signed])
    assert title == "Visitors" and set(titles) == {"Guestbook", "Visitors"}
