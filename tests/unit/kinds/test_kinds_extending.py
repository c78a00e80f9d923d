"""The kinds that extend a cluster - webhooks, policies, definitions, API services, flow control: a wrong field each."""

from __future__ import annotations

from typing import Any

import pytest

from support.judging import GONE, judge_of, made, put, refused, updated

pytestmark = pytest.mark.unit

RULE = {"operations": ["CREATE"], "apiGroups": ["z.io"], "apiVersions": ["v1"], "resources": ["foos"]}
HOOK = {
    "name": "a.b.io",
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "clientConfig": {"service": {"namespace": "n", "name": "s"}},
    "rules": [RULE],
    "matchConditions": [{"name": "c", "expression": "true"}],
}


def _object(api: str, kind: str, name: str = "x", **body: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **body}


ADMISSION, FLOW = "admissionregistration.k8s.io/v1", "flowcontrol.apiserver.k8s.io/v1"
HOOKS = _object(ADMISSION, "MutatingWebhookConfiguration", webhooks=[HOOK])
POLICY = _object(
    ADMISSION,
    "ValidatingAdmissionPolicy",
    spec={
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": [RULE]},
        "matchConditions": [{"name": "c", "expression": "true"}],
        "variables": [{"name": "x", "expression": "2"}],
        "validations": [{"expression": "variables.x > 1", "reason": "Invalid", "messageExpression": "'a'"}],
        "auditAnnotations": [{"key": "k", "valueExpression": "'x'"}],
    },
)
BINDING = _object(
    ADMISSION,
    "ValidatingAdmissionPolicyBinding",
    spec={
        "policyName": "p",
        "validationActions": ["Deny", "Audit"],
        "paramRef": {"name": "n", "parameterNotFoundAction": "Deny"},
    },
)
MUTATING = _object(
    ADMISSION,
    "MutatingAdmissionPolicy",
    spec={
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [RULE]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
    },
)
SERVICE = _object(
    "apiregistration.k8s.io/v1",
    "APIService",
    "v1.a.io",
    spec={
        "group": "a.io",
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 10,
        "service": {"namespace": "n", "name": "s"},
        "insecureSkipTLSVerify": True,
    },
)
DEFINITION = _object(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "foos.a.io",
    spec={
        "group": "a.io",
        "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
)
FLOWS = _object(
    FLOW,
    "FlowSchema",
    spec={
        "priorityLevelConfiguration": {"name": "workload-low"},
        "matchingPrecedence": 500,
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "u"}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x/*"]}],
            }
        ],
    },
)
LEVEL = _object(
    FLOW,
    "PriorityLevelConfiguration",
    spec={"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 16, "handSize": 4}}}},
)
HERE = "webhooks.0"
SUBJECT = "spec.rules.0.subjects.0"
VERSION = "spec.versions.0"


@pytest.mark.parametrize("obj", [HOOKS, POLICY, BINDING, MUTATING, SERVICE, DEFINITION, FLOWS, LEVEL])
def test_good_objects_are_taken(obj: dict[str, Any]) -> None:
    assert refused(obj, "metadata.labels", {"a": "b"}) == []
    assert updated(obj, "metadata.labels", {"a": "b"})[1] == []


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong"),
    [
        (HOOKS, f"{HERE}.name", "a", "webhooks[0].name: Invalid value"),
        (HOOKS, "webhooks", [HOOK, HOOK], 'webhooks[1].name: Duplicate value: "a.b.io"'),
        (HOOKS, f"{HERE}.admissionReviewVersions", [], "webhooks[0].admissionReviewVersions: Required value"),
        (HOOKS, f"{HERE}.admissionReviewVersions", ["v9"], "must include at least one of v1, v1beta1"),
        (HOOKS, f"{HERE}.sideEffects", GONE, "webhooks[0].sideEffects: Required value"),
        (HOOKS, f"{HERE}.sideEffects", "Some", 'webhooks[0].sideEffects: Unsupported value: "Some"'),
        (HOOKS, f"{HERE}.failurePolicy", "Retry", 'webhooks[0].failurePolicy: Unsupported value: "Retry"'),
        (HOOKS, f"{HERE}.matchPolicy", "Any", 'webhooks[0].matchPolicy: Unsupported value: "Any"'),
        (HOOKS, f"{HERE}.timeoutSeconds", 31, "the timeout value must be between 1 and 30 seconds"),
        (HOOKS, f"{HERE}.reinvocationPolicy", "Twice", 'reinvocationPolicy: Unsupported value: "Twice"'),
        (HOOKS, f"{HERE}.clientConfig", {}, "exactly one of url or service is required"),
        (HOOKS, f"{HERE}.clientConfig", {"url": "http://a.io"}, "'https' is the only allowed URL scheme"),
        (HOOKS, f"{HERE}.clientConfig.service.name", "", "clientConfig.service.namespace: Required value"),
        (HOOKS, f"{HERE}.clientConfig.service.port", 70000, "port is not valid: must be between 1 and 65535"),
        (HOOKS, f"{HERE}.rules.0.operations", [], "webhooks[0].rules[0].operations: Required value"),
        (HOOKS, f"{HERE}.rules.0.operations", ["READ"], 'operations[0]: Unsupported value: "READ"'),
        (HOOKS, f"{HERE}.rules.0.operations", ["*", "CREATE"], "must not specify other operations"),
        (HOOKS, f"{HERE}.rules.0.scope", "Wide", 'webhooks[0].rules[0].scope: Unsupported value: "Wide"'),
        (HOOKS, f"{HERE}.matchConditions.0.expression", "1", "must evaluate to bool"),
        (HOOKS, f"{HERE}.matchConditions.0.name", "", "webhooks[0].matchConditions[0].name: Required value"),
        (POLICY, "spec.matchConstraints", GONE, "spec.matchConstraints: Required value"),
        (POLICY, "spec.paramKind.kind", "", "spec.paramKind.kind: Required value"),
        (POLICY, "spec.failurePolicy", "Retry", 'spec.failurePolicy: Unsupported value: "Retry"'),
        (POLICY, "spec.validations.0.expression", "", "spec.validations[0].expression: Required value"),
        (POLICY, "spec.validations.0.expression", "1", "must evaluate to bool"),
        (POLICY, "spec.validations.0.reason", "Bad", 'spec.validations[0].reason: Unsupported value: "Bad"'),
        (POLICY, "spec.validations.0.messageExpression", "1", "must evaluate to string"),
        (
            POLICY,
            "spec.variables.0.name",
            "1x",
            'spec.variables[0].name: Invalid value: "1x": must be a valid CEL identifier',
        ),
        (POLICY, "spec.auditAnnotations.0.key", "", "spec.auditAnnotations[0].key: Invalid value"),
        (BINDING, "spec.policyName", "", "spec.policyName: Required value"),
        (BINDING, "spec.validationActions", [], "spec.validationActions: Required value"),
        (BINDING, "spec.validationActions", ["Deny", "Warn"], "must not contain both Deny and Warn"),
        (BINDING, "spec.validationActions", ["Deny", "Deny"], "spec.validationActions[1]: Duplicate value"),
        (BINDING, "spec.paramRef.parameterNotFoundAction", "Wait", 'Unsupported value: "Wait"'),
        (BINDING, "spec.paramRef.selector", {}, "name and selector are mutually exclusive"),
        (MUTATING, "spec.mutations", [], "spec.mutations: Required value"),
        (MUTATING, "spec.mutations.0.patchType", "Text", 'spec.mutations[0].patchType: Unsupported value: "Text"'),
        (MUTATING, "spec.mutations.0.applyConfiguration.expression", "1", "must evaluate to Object"),
        (MUTATING, "spec.reinvocationPolicy", GONE, "spec.reinvocationPolicy: Required value"),
        (SERVICE, "metadata.name", "v2.a.io", 'must be `spec.version+"."+spec.group`'),
        (SERVICE, "spec.groupPriorityMinimum", 20001, "must be positive and less than 20000"),
        (SERVICE, "spec.versionPriority", 0, "must be positive and less than 1000"),
        (SERVICE, "spec.service.name", "", "spec.service.name: Required value"),
        (SERVICE, "spec.service.port", 70000, "port is not valid: must be between 1 and 65535, inclusive"),
        (SERVICE, "spec.caBundle", "QQ==", "may not be true if caBundle is present"),
        (SERVICE, "spec.service", GONE, "local APIServices may not have insecureSkipTLSVerify"),
        (DEFINITION, "metadata.name", "bars.a.io", 'must be spec.names.plural+"."+spec.group'),
        (DEFINITION, "spec.group", "a", "should be a domain with at least one dot"),
        (
            DEFINITION,
            "spec.scope",
            "Wide",
            'spec.scope: Unsupported value: "Wide": supported values: "Cluster", "Namesp',
        ),
        (DEFINITION, "spec.names.kind", "", "spec.names.kind: Required value"),
        (DEFINITION, "spec.names.listKind", "Foo", "kind and listKind may not be the same"),
        (DEFINITION, "spec.names.shortNames", ["A"], "spec.names.shortNames[0]: Invalid value"),
        (DEFINITION, f"{VERSION}.storage", False, "must have exactly one version marked as storage version"),
        (DEFINITION, f"{VERSION}.schema", GONE, "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (
            DEFINITION,
            f"{VERSION}.selectableFields",
            [{"jsonPath": ".spec.x"}],
            "selectableFields[0].jsonPath: Invalid value",
        ),
        (DEFINITION, f"{VERSION}.schema.openAPIV3Schema.$schema", "x", "OpenAPIV3Schema 'schema' is not supported"),
        (DEFINITION, f"{VERSION}.schema.openAPIV3Schema.id", "x", "openAPIV3Schema.id: Forbidden: id is not supported"),
        (DEFINITION, f"{VERSION}.deprecationWarning", "w", "can only be set for deprecated versions"),
        (FLOWS, "spec.priorityLevelConfiguration.name", "", "must reference a priority level"),
        (FLOWS, "spec.matchingPrecedence", 10001, "must not be greater than 10000"),
        (FLOWS, "spec.matchingPrecedence", 1, "only the schema named 'exempt' may have matchingPrecedence 1"),
        (FLOWS, "spec.distinguisherMethod.type", "ByDay", 'Unsupported value: {"Type":"ByDay"}'),
        (FLOWS, "spec.rules.0.subjects", [], "spec.rules[0].subjects: Required value"),
        (FLOWS, f"{SUBJECT}.kind", "Robot", 'spec.rules[0].subjects[0].kind: Unsupported value: "Robot"'),
        (FLOWS, f"{SUBJECT}.user", GONE, "user is required when subject kind is 'User'"),
        (FLOWS, "spec.rules.0.nonResourceRules.0.verbs", [], "spec.rules[0].nonResourceRules[0].verbs: Required value"),
        (LEVEL, "spec.type", "Endless", 'spec.type: Unsupported value: "Endless"'),
        (LEVEL, "spec.type", "Exempt", "must be 'Exempt' if and only if `name` is 'exempt'"),
        (LEVEL, "spec.limited.lendablePercent", 101, "must be between 0 and 100, inclusive"),
        (LEVEL, "spec.limited.limitResponse.type", "Wait", 'limitResponse.type: Unsupported value: "Wait"'),
        (LEVEL, "spec.limited.limitResponse.queuing.handSize", 17, "should not be greater than queues (16)"),
    ],
)
def test_one_wrong_field(obj: dict[str, Any], path: str, value: Any, wrong: str) -> None:
    found = refused(obj, path, value)
    assert any(wrong in message for message in found), found


@pytest.mark.parametrize(
    ("obj", "path", "value", "wrong", "generation"),
    [
        (HOOKS, f"{HERE}.timeoutSeconds", 5, "", 2),
        (HOOKS, "metadata.labels", {"a": "b"}, "", 1),
        (POLICY, "spec.failurePolicy", "Ignore", "", 2),
        (BINDING, "spec.policyName", "q", "", 2),
        (DEFINITION, "spec.scope", "Cluster", "", 2),
        (DEFINITION, "spec.group", "b.io", "spec.group: Invalid value", 2),
        (FLOWS, "spec.matchingPrecedence", 7, "", 2),
        (LEVEL, "spec.limited.lendablePercent", 5, "", 2),
        (SERVICE, "spec.versionPriority", 11, "", None),
        (SERVICE, "spec.version", "v2", 'must be `spec.version+"."+spec.group`', None),
    ],
)
def test_updates(obj: dict[str, Any], path: str, value: Any, wrong: str, generation: int | None) -> None:
    fresh, found = updated(obj, path, value)
    assert any(wrong in message for message in found) if wrong else found == [], found
    assert fresh["metadata"].get("generation") == generation


@pytest.mark.parametrize(
    ("obj", "path", "value"),
    [
        (HOOKS, f"{HERE}.failurePolicy", "Fail"),
        (HOOKS, f"{HERE}.matchPolicy", "Equivalent"),
        (HOOKS, f"{HERE}.timeoutSeconds", 10),
        (HOOKS, f"{HERE}.reinvocationPolicy", "Never"),
        (HOOKS, f"{HERE}.namespaceSelector", {}),
        (HOOKS, f"{HERE}.clientConfig.service.port", 443),
        (HOOKS, f"{HERE}.rules.0.scope", "*"),
        (POLICY, "spec.failurePolicy", "Fail"),
        (POLICY, "spec.matchConstraints.matchPolicy", "Equivalent"),
        (MUTATING, "spec.failurePolicy", "Fail"),
        (SERVICE, "spec.service.port", 443),
        (DEFINITION, "spec.names.listKind", "FooList"),
        (DEFINITION, "spec.conversion", {"strategy": "None"}),
        (FLOWS, "spec.matchingPrecedence", 500),
        (LEVEL, "spec.limited.nominalConcurrencyShares", 30),
        (LEVEL, "spec.limited.lendablePercent", 0),
        (LEVEL, "spec.limited.limitResponse.queuing.queueLengthLimit", 50),
    ],
)
def test_defaults(obj: dict[str, Any], path: str, value: Any) -> None:
    assert put(made(obj), path, value) == made(obj)


@pytest.mark.parametrize(
    ("obj", "kept"), [(SERVICE, True), (POLICY, True), (FLOWS, True), (LEVEL, True), (DEFINITION, False)]
)
def test_status_writes_and_labels(obj: dict[str, Any], kept: bool) -> None:
    fresh, _ = updated(obj, "metadata.labels", {"a": "b"}, "status")
    assert ("labels" not in fresh["metadata"]) is kept
    named, _ = updated(obj, "metadata.generateName", "g", "status")
    assert ("generateName" in named["metadata"]) is (obj not in (FLOWS, LEVEL))


@pytest.mark.parametrize(
    ("obj", "may"),
    [(HOOKS, False), (POLICY, False), (SERVICE, False), (DEFINITION, False), (FLOWS, True), (LEVEL, True)],
)
def test_updates_that_name_no_version(obj: dict[str, Any], may: bool) -> None:
    assert judge_of(obj).unconditional_update is may


@pytest.mark.parametrize(
    ("format", "kind", "warned"),
    [("int32", "integer", False), ("date-time", "string", False), ("blue", "string", True), ("int32", "boolean", True)],
)
def test_formats_nobody_knows_are_warned_of(format: str, kind: str, warned: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": kind, "format": format}}}
    found = judge_of(DEFINITION).warnings(made(put(DEFINITION, f"{VERSION}.schema.openAPIV3Schema", schema)))
    assert found == ([f'unrecognized format "{format}"'] if warned else [])
