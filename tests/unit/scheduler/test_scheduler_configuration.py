"""KubeSchedulerConfiguration: what a document means, and what is said of one that means nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kumo.kubernetes.scheduler.configuration import API_VERSION, KIND, parse
from kumo.kubernetes.scheduler.plugins.node_resources import Fit
from kumo.kubernetes.scheduler.profile import default_profile
from kumo.kubernetes.scheduler.settings import SettingsError

pytestmark = pytest.mark.unit
HEAD = {"apiVersion": API_VERSION, "kind": KIND}
FIT = "NodeResourcesFit"


def shape(profile: Any) -> tuple[list[str], dict[str, int]]:
    return [p.name for p in profile.filters], {p.name: w for p, w in profile.scorers}


def test_scheduler_configuration_without_profiles_is_the_default() -> None:
    found = parse(HEAD)
    assert [p.name for p in found.profiles] == ["default-scheduler"]
    assert shape(found.profiles[0]) == shape(default_profile())
    assert (found.initial_backoff, found.max_backoff) == (1.0, 10.0)


def test_scheduler_configuration_changes_weights_and_leaves_plugins_out() -> None:
    plugins = {
        "score": {"disabled": [{"name": "ImageLocality"}], "enabled": [{"name": "NodeAffinity", "weight": 7}]},
        "multiPoint": {"disabled": [{"name": "NodePorts"}, {"name": "DefaultPreemption"}]},
    }
    profile = parse({**HEAD, "profiles": [{"schedulerName": "mine", "plugins": plugins}]}).profiles[0]
    filters, weights = shape(profile)
    assert "NodePorts" not in filters and "NodeAffinity" in filters
    assert weights["NodeAffinity"] == 7 and "ImageLocality" not in weights and weights["TaintToleration"] == 3
    assert profile.name == "mine" and not profile.preemption and profile.gates


def test_scheduler_configuration_all_but_one() -> None:
    names = ["PrioritySort", "DefaultBinder", FIT]
    plugins = {"multiPoint": {"disabled": [{"name": "*"}], "enabled": [{"name": n} for n in names]}}
    profile = parse({**HEAD, "profiles": [{"plugins": plugins}]}).profiles[0]
    assert shape(profile) == ([FIT], {FIT: 1})


def test_scheduler_configuration_extenders_take_resources_off_the_scheduler() -> None:
    extender = {
        "urlPrefix": "http://127.0.0.1:1/x/",
        "filterVerb": "filter",
        "httpTimeout": "1m0.5s",
        "managedResources": [{"name": "example.com/foo", "ignoredByScheduler": True}],
    }
    found = parse({**HEAD, "extenders": [extender]})
    assert (found.extenders[0].url, found.extenders[0].timeout) == ("http://127.0.0.1:1/x", 60.5)
    fit = found.profiles[0].by_name[FIT]
    assert isinstance(fit, Fit) and fit.leaves_out("example.com/foo") and not fit.leaves_out("example.com/bar")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the document is not a mapping"),
        ({"kind": KIND}, "apiVersion and kind must be"),
        ({**HEAD, "nonsense": 1}, 'unknown field "nonsense"'),
        ({**HEAD, "percentageOfNodesToScore": 101}, "is not a whole number from 0 to 100"),
        ({**HEAD, "podInitialBackoffSeconds": 20}, "podMaxBackoffSeconds"),
        ({**HEAD, "profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]}, 'duplicate value: "a"'),
        ({**HEAD, "profiles": [{"plugins": {"filter": {"enabled": [{"name": "Nope"}]}}}]}, '"Nope" is no plugin'),
        ({**HEAD, "profiles": [{"plugins": {"bind": {"disabled": [{"name": "*"}]}}}]}, "at least one bind plugin"),
        ({**HEAD, "profiles": [{"plugins": {"queueSort": {"disabled": [{"name": "*"}]}}}]}, "queue sort plugin"),
        (
            {**HEAD, "profiles": [{"pluginConfig": [{"name": FIT, "args": {"scoringStrategy": {"type": "Best"}}}]}]},
            "'Best' is none of LeastAllocated",
        ),
        (
            {
                **HEAD,
                "profiles": [{"pluginConfig": [{"name": "PodTopologySpread", "args": {"defaultConstraints": [1]}}]}],
            },
            "defaultConstraints[0] is not a mapping",
        ),
        ({**HEAD, "extenders": [{"urlPrefix": "ftp://x"}]}, "is no http:// or https:// URL"),
        ({**HEAD, "extenders": [{"urlPrefix": "http://x", "httpTimeout": "soon"}]}, "'soon' is no duration"),
    ],
)
def test_scheduler_configuration_says_what_is_wrong(document: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("[", r"\[").replace("]", r"\]")):
        parse(document)
