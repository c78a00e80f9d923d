"""Who may use an image that is here: credentials, policies, verdicts, records that outlive the kubelet."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest

from kumo.api.objects import Object
from kumo.host.containerd.rpc import EngineError
from kumo.host.containerd.stubs import cri_pb2 as cri
from kumo.kubernetes.kubelet.backoff import Backoff
from kumo.kubernetes.kubelet.images import ImageManager
from kumo.kubernetes.kubelet.pulls.credentials import Credential, PullSecret, lookup, repository
from kumo.kubernetes.kubelet.pulls.ledger import PullLedger
from kumo.kubernetes.kubelet.pulls.puller import Puller, PullFailed, PullLimits, TokenBucket, aggregate, explained
from kumo.kubernetes.kubelet.pulls.records import Pulled, RecordFiles, decode, encode, file_name
from kumo.kubernetes.kubelet.pulls.verification import Access, judge, make_policy, merged, parse_pattern, untagged
from kumo.kubernetes.kubelet.stats.families import FAMILIES
from kumo.kubernetes.kubelet.stats.meter import Meter

pytestmark = pytest.mark.unit

MINE = PullSecret("u1", "ns", "mine", "hash1")
THEIRS = PullSecret("u2", "other", "theirs", "hash2")


def secret(name: str, auths: dict[str, Any]) -> Object:
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
    return {"metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}


def user(name: str) -> dict[str, str]:
    return {"username": name, "password": "p"}


def test_the_most_specific_credentials_come_first_and_those_of_the_node_last() -> None:
    secrets = [secret("wide", {"quay.io": user("wide")}), secret("narrow", {"quay.io/team": user("narrow")})]
    node = json.dumps({"auths": {"quay.io": user("node")}}).encode()
    found = lookup("quay.io/team/tool:1", secrets, node)
    assert [c.auth.username for c in found] == ["narrow", "wide", "node"]
    assert [c.source.name if c.source else None for c in found] == ["narrow", "wide", None]
    assert [c.auth.username for c in lookup("quay.io/other/tool", secrets, node)] == ["wide", "node"]
    assert lookup("docker.io/team/tool", secrets, node) == []


def test_the_default_registry_is_docker_hub() -> None:
    hub = [secret("hub", {"https://index.docker.io/v1/": user("hub")})]
    assert [c.auth.username for c in lookup("busybox", hub)] == ["hub"]
    assert lookup("localhost:5000/busybox", hub) == []
    assert repository("busybox@sha256:" + "0" * 64) == "docker.io/library/busybox"


def test_the_same_words_have_the_same_hash_in_any_secret() -> None:
    one, two = (lookup("quay.io/a", [secret(n, {"quay.io": user("x")})])[0].source for n in ("a", "b"))
    other = lookup("quay.io/a", [secret("a", {"quay.io": user("y")})])[0].source
    assert one is not None and two is not None and other is not None
    assert one.hash == two.hash != other.hash


@pytest.mark.parametrize(
    "auths", [{"quay.io": "no"}, {"quay.io": {"auth": "%%"}}, {"quay.io": {"username": 1}}, {"": user("x")}, {"[": {}}]
)
def test_what_can_not_be_read_is_no_credential_that_works(auths: dict[str, Any]) -> None:
    assert all(not c.auth.password for c in lookup("quay.io/a", [secret("a", auths)], b"nonsense"))


@pytest.mark.parametrize(
    ("policy", "allowed", "image", "pulled", "required"),
    [
        ("NeverVerify", (), "quay.io/a:1", True, False),
        ("NeverVerifyPreloadedImages", (), "quay.io/a:1", True, True),
        ("NeverVerifyPreloadedImages", (), "quay.io/a:1", False, False),
        ("AlwaysVerify", (), "quay.io/a:1", False, True),
        ("NeverVerifyAllowlistedImages", ("quay.io/a",), "quay.io/a:1", True, False),
        ("NeverVerifyAllowlistedImages", ("quay.io/a",), "quay.io/ab:1", False, True),
        ("NeverVerifyAllowlistedImages", ("quay.io/*",), "quay.io/x/y@sha256:00", True, False),
    ],
)
def test_policies(policy: str, allowed: tuple[str, ...], image: str, pulled: bool, required: bool) -> None:
    assert make_policy(policy, allowed)(image, pulled) is required


@pytest.mark.parametrize("pattern", ["", " a", "a/*/b", "/*", "a*", "quay.io/a:1", "*"])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(ValueError):
        parse_pattern(pattern)


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown image pull credential verification policy: Sometimes"):
        make_policy("Sometimes")


def test_names_without_tags() -> None:
    names = ["a:1", "h:5000/a", "h:5000/a:1@sha256:00", "a@sha256:00"]
    assert [untagged(n) for n in names] == ["a", "h:5000/a", "h:5000/a", "a"]


def test_verdicts() -> None:
    known = Access(secrets=(MINE,))
    assert judge(None, (MINE,)).pull
    assert not judge(Access(everyone=True), ()).pull
    assert judge(known, ()).pull
    assert judge(known, (THEIRS,)).pull
    assert not judge(known, (THEIRS, MINE)).pull
    # Other words in the same secret, and the same words in another one, count and are remembered.
    rotated, copied = PullSecret("u1", "ns", "mine", "new"), PullSecret("u3", "ns", "copy", "hash1")
    assert judge(known, (rotated,)).remember == rotated
    assert judge(known, (copied,)).remember == copied
    assert judge(Access(secrets=(PullSecret("u1", "ns", "x", ""),)), (PullSecret("u9", "n", "y", ""),)).pull


def test_once_everybody_may_everybody_may() -> None:
    assert merged(Access(secrets=(MINE,)), Access(everyone=True)) == Access(everyone=True)
    assert merged(Access(everyone=True), Access(secrets=(MINE,))) == Access(everyone=True)
    assert merged(Access(secrets=(THEIRS,)), Access(secrets=(MINE,))).secrets == (MINE, THEIRS)


def test_records_read_as_they_were_written() -> None:
    access = {"quay.io/a": Access(secrets=(MINE,), accounts=(("u", "ns", "sa"),)), "b": Access(everyone=True)}
    record = Pulled("sha256:1", access, "2026-01-02T03:04:05Z")
    assert decode(encode(record)) == record
    found = json.loads(encode(record))
    assert found["apiVersion"] == "kubelet.config.k8s.io/v1beta1"
    assert found["credentialMapping"]["b"] == {"nodePodsAccessible": True}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"kind":"x"}', b'{"kind":"ImagePulledRecord","imageRef":1}x'])
def test_broken_records(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode(content)


def ledger(folder: Path, images: Sequence[cri.Image] = (), policy: str = "NeverVerifyPreloadedImages") -> PullLedger:
    async def listed() -> Sequence[cri.Image]:
        return images

    return PullLedger(folder, make_policy(policy), listed)


async def _pull_of(book: PullLedger, image: str, ref: str, *secrets: PullSecret, preloaded: bool = False) -> bool:
    async def mine() -> Sequence[PullSecret]:
        return secrets

    return (await book.verdict(image, ref, mine, preloaded=preloaded)).pull


async def test_what_was_pulled_with_a_secret_is_for_who_has_it_also_after_a_restart(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    assert not await _pull_of(book, "quay.io/a:1", "sha256:1")  # preloaded
    await book.begin("quay.io/a:1")
    assert await _pull_of(book, "quay.io/a:1", "sha256:1")  # on its way: whose it will be nobody knows
    await book.succeeded("quay.io/a:1", "sha256:1", Credential(cri.AuthConfig(), MINE))
    for known in (book, ledger(tmp_path)):
        assert not await _pull_of(known, "quay.io/a:1", "sha256:1", MINE)
        assert await _pull_of(known, "quay.io/a:1", "sha256:1", THEIRS)
        assert await _pull_of(known, "quay.io/other:1", "sha256:1", MINE)  # by another name, another registry
        assert not await _pull_of(known, "quay.io/a:1", "sha256:1", THEIRS, preloaded=True)
        assert known.sizes == (0, 1)
    await book.begin("quay.io/a:1")
    await book.succeeded("quay.io/a:1", "sha256:1", None)
    assert not await _pull_of(book, "quay.io/a:1", "sha256:1", THEIRS)


async def test_a_pull_that_was_over_when_the_kubelet_was_killed_is_nobodys(tmp_path: Path) -> None:
    await ledger(tmp_path).begin("busybox")
    there = cri.Image(id="sha256:1", repo_tags=["docker.io/library/busybox:latest"])
    book = ledger(tmp_path, [there])
    assert await _pull_of(book, "busybox", "sha256:1", MINE)
    assert book.sizes == (0, 1)
    absent = ledger(tmp_path / "other")
    await absent.begin("busybox")
    await absent.failed("busybox")
    assert absent.sizes == (0, 0)


async def test_an_image_that_came_when_nobody_waited_any_more_is_nobodys(tmp_path: Path) -> None:
    """A pod that is deleted amid its pull, and one without a secret whose pull fails, open nobody's image to all."""
    images: list[cri.Image] = []
    book = ledger(tmp_path, images)
    await book.begin("busybox")
    await book.given_up("busybox")
    assert await _pull_of(book, "busybox", "sha256:1", THEIRS)  # it is here after all
    await book.begin("busybox")
    await book.failed("busybox")
    assert await _pull_of(book, "busybox", "sha256:1", THEIRS)
    images.append(cri.Image(id="sha256:1", repo_tags=["docker.io/library/busybox:latest"]))
    await book.prune({"sha256:1"}, 0.0)
    assert book.sizes == (0, 1)
    for known in (book, ledger(tmp_path)):
        assert await _pull_of(known, "busybox", "sha256:1", THEIRS)


async def test_a_pull_that_was_given_up_and_gave_nothing_is_forgotten_at_the_second_look(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    await book.begin("busybox")
    await book.given_up("busybox")
    await book.prune((), 0.0)
    assert book.sizes == (1, 0)
    await book.begin("busybox")
    await book.prune((), 0.0)
    assert book.sizes == (1, 0)  # it is under way again
    await book.failed("busybox")
    assert book.sizes == ledger(tmp_path).sizes == (0, 0)
    assert not list((tmp_path / "image_manager" / "pulling").iterdir())


@pytest.mark.parametrize(("code", "doubtful"), [("UNAVAILABLE", True), ("CANCELLED", True), ("UNKNOWN", False)])
async def test_a_failure_says_whether_the_image_may_be_here(code: str, doubtful: bool) -> None:
    asked: list[str] = []

    class Service:
        async def pull(self, name: str, _: object) -> str:
            asked.append(name)
            raise EngineError(code, "no")

    puller = Puller(cast("Any", Service()), PullLimits())
    with pytest.raises(PullFailed) as failure:
        await puller.pull("a", (), lambda: asked.append("asking"))
    assert failure.value.doubtful is doubtful and asked == ["asking", "a"]


async def test_a_record_that_can_not_be_read_means_a_pull_and_is_mended_by_it(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    files.load()
    (tmp_path / "image_manager" / "pulled" / file_name("sha256:1")).write_bytes(b"{")
    book = ledger(tmp_path)
    assert await _pull_of(book, "a", "sha256:1", MINE)
    await book.begin("a")
    await book.succeeded("a", "sha256:1", None)
    assert not await _pull_of(ledger(tmp_path), "a", "sha256:1")


async def test_records_of_images_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    for ref in ("sha256:1", "sha256:2"):
        await book.begin("a")
        await book.succeeded("a", ref, None)
    await book.prune({"sha256:2"}, 0.0)
    assert book.sizes == (0, 2)  # younger than the look
    await book.prune({"sha256:2"}, 4e9)
    assert ledger(tmp_path).sizes == (0, 0)
    assert set((tmp_path / "image_manager" / "pulled").iterdir()) == {
        tmp_path / "image_manager" / "pulled" / file_name("sha256:2")
    }


def test_errors_read_as_upstreams() -> None:
    assert aggregate(["a", "a"]) == "a"
    assert aggregate(["a", "b"]) == "[a, b]"
    assert explained("i", "RegistryUnavailable: later") == (
        "RegistryUnavailable",
        "image pull failed for i because the registry is unavailable: later",
    )
    assert explained("i", "rpc error: x") == ("ErrImagePull", "rpc error: x")


def test_a_bucket_lets_a_burst_pass_and_then_so_many_a_second() -> None:
    now = [0.0]
    bucket = TokenBucket(2.0, 3, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    assert all(TokenBucket(0, 0).take() for _ in range(5))


class Containers:
    """An image service and store with one image that was pulled."""

    async def status(self, name: str) -> cri.Image:
        return cri.Image(id="sha256:1")

    async def marks(self, name: str) -> tuple[bool, bool]:
        return False, False


async def test_who_was_given_an_image_keeps_it_while_nobody_can_be_asked(tmp_path: Path) -> None:
    book, away = ledger(tmp_path), False
    await book.begin("quay.io/a:1")
    source = lookup("quay.io/a:1", [secret("mine", {"quay.io": user("x")})])[0].source
    await book.succeeded("quay.io/a:1", "sha256:1", Credential(cri.AuthConfig(), source))

    class Known:
        async def get_all(self, gvr: object, namespace: str, names: Sequence[str]) -> dict[str, Object | None]:
            if away:
                raise ConnectionError("the API server is not there")
            return {"mine": secret("mine", {"quay.io": user("x")})}

    here: Any = Containers()
    references: Any = Known()
    backoff = Backoff(10.0, 300.0, lambda: 0.0)
    parts: Any = (here, here, references, Mock(), backoff, Mock(), book, tmp_path / "config.json", Meter(FAMILIES))
    images = ImageManager(*parts)
    known, late = (
        {"metadata": {"uid": uid, "namespace": "ns"}, "spec": {"imagePullSecrets": [{"name": "mine"}]}}
        for uid in ("known", "late")
    )
    assert (await images.ensure(known, "quay.io/a:1", "Never")).id == "sha256:1"
    away = True
    assert (await images.ensure(known, "quay.io/a:1", "Never")).id == "sha256:1"
    with pytest.raises(ConnectionError):
        await images.ensure(late, "quay.io/a:1", "Never")
    images.forget_pod("known")
    with pytest.raises(ConnectionError):
        await images.ensure(known, "quay.io/a:1", "Never")
