"""kubectl's subcommands as a table: the real program over HTTPS against the API server and its controllers.

Each line is what somebody types and what he must see: a part of the output, or (with `!`) of the refusal.
What needs a running container is in `tests/e2e/test_e2e_pods.py`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from kumo.api.resources import SERVICEACCOUNTS
from support.hollow import HollowCluster, until

pytestmark = pytest.mark.component

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "IMAGE", ports: [{containerPort: 80}]}]}
"""
MAPS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, labels: {set: x}}
data: {k: "1"}
"""
RIGHTS = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: User, name: jane, apiGroup: rbac.authorization.k8s.io}]
"""
WIDGETS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.table.example}
spec:
  group: table.example
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, description: how many}, color: {type: string}}}
          status: {type: object, properties: {size: {type: integer}}}
"""
WIDGET = """\
apiVersion: table.example/v1
kind: Widget
metadata: {name: w}
spec: {size: 2, color: red}
"""

ABOUT = """
version -o yaml | gitVersion: v1.36
cluster-info | Kubernetes control plane
api-versions | autoscaling/v2
api-resources --api-group=apps -o wide | sts
api-resources --namespaced=false -o name --verbs=list | nodes
explain deployment.spec.strategy | rollingUpdate
explain pods --recursive | ephemeralContainers
explain hpa.spec --api-version=autoscaling/v1 | targetCPUUtilizationPercentage
explain bogus |! the server doesn't have a resource type "bogus"
auth whoami | kubernetes-admin
auth can-i get pods | yes
auth can-i --list --as=jane | selfsubjectaccessreviews.authorization.k8s.io
auth can-i get pods --as=jane |! no
auth reconcile -f RIGHTS | rolebinding.rbac.authorization.k8s.io/reader reconciled
auth can-i get pods --as=jane | yes
get secrets --as=jane |! secrets is forbidden: User "jane" cannot list resource "secrets" in API group ""
get --raw /readyz | ok
get flowschemas | exempt
get bogus |! the server doesn't have a resource type "bogus"
get endpoints kubernetes | Warning: v1 Endpoints is deprecated in v1.33+
"""
WORKLOADS = """
apply -f WEB | deployment.apps/web created
apply -f WEB | deployment.apps/web unchanged
diff -f WEB2 |! +  replicas: 3
apply -f WEB2 --dry-run=server -o yaml | replicas: 3
apply view-last-applied deployment/web | replicas: 2
rollout status deployment/web --timeout=20s | successfully rolled out
get deployment web -o wide | app=web
get deployment web --subresource=scale | DESIRED
get deployment,rs,pod -l app=web -o name | replicaset.apps/web-
get pods --sort-by=.metadata.name --no-headers | Running
get pods -o jsonpath={.items[*].spec.containers[*].image} | nginx:1 nginx:1
get pods -o custom-columns=N:.metadata.name,P:.status.phase --chunk-size=1 | Running
get pods -o go-template={{range.items}}{{.kind}},{{end}} | Pod,Pod,
describe deployment web | StrategyType:           RollingUpdate
set image deployment/web c=nginx:2 | image updated
rollout status deployment/web --timeout=20s | successfully rolled out
rollout history deployment/web | REVISION
rollout undo deployment/web --to-revision=1 | rolled back
rollout pause deployment/web | paused
rollout restart deployment/web |! can't restart paused deployment
rollout resume deployment/web | resumed
set env deployment/web A=b | env updated
set env deployment/web --list | A=b
set resources deployment/web --limits=cpu=1 --requests=cpu=2 |! must be less than or equal to cpu limit of 1
scale deployment/web --replicas=1 --current-replicas=7 |! Expected replicas to be 7
scale deployment/web --replicas=1 | scaled
autoscale deployment/web --min=1 --max=3 --cpu-percent=50 | autoscaled
expose deployment/web --port=80 --name=web | exposed
get service,endpointslices | service/web
describe service web | TargetPort:
wait deployment/web --for=jsonpath={.spec.replicas}=1 --timeout=5s | condition met
create job once --image=busybox -- date | job.batch/once created
create cronjob daily --image=busybox --schedule=@daily -- date | cronjob.batch/daily created
create job now --from=cronjob/daily | job.batch/now created
get cronjob daily | @daily
run lone --image=busybox --labels=a=b | pod/lone created
wait pod/lone --for=condition=Ready --timeout=20s | condition met
events --for pod/lone --types=Normal,Warning | Scheduled
debug lone --image=busybox -c probe --target=lone --profile=general | Targeting container "lone"
get pod lone -o jsonpath={.spec.ephemeralContainers[*].name} | probe
delete pod lone --now | pod "lone" deleted
delete deployment web --cascade=foreground | deployment.apps "web" deleted
get rs,pods -l app=web | No resources found
"""
OBJECTS = """
create configmap lit --from-literal=a=b | configmap/lit created
create configmap lit --from-literal=a=b |! configmaps "lit" already exists
create secret generic hidden --from-literal=a=b | secret/hidden created
create quota most --hard=services=9 | resourcequota/most created
create pdb budget --selector=app=web --min-available=50% | poddisruptionbudget.policy/budget created
create role may --verb=get --resource=pods,deployments.apps | role.rbac.authorization.k8s.io/may created
create rolebinding may --role=may --serviceaccount=default:default | created
create serviceaccount robot | serviceaccount/robot created
create token robot --duration=10m | eyJ
create service nodeport node --tcp=80 | service/node created
create ingress door --rule=example.com/*=node:80 | ingress.networking.k8s.io/door created
create priorityclass high --value=10 | priorityclass.scheduling.k8s.io/high created
create clusterrole sees --verb=get --non-resource-url=/x --dry-run=server -o yaml | nonResourceURLs
create namespace team | namespace/team created
wait namespace/team --for=jsonpath={.status.phase}=Active | condition met
describe quota most | services
describe pdb budget | Min available:
apply -f A -f B | configmap/b created
apply -f A --prune -l set=x --prune-allowlist=core/v1/ConfigMap | configmap/b pruned
annotate configmap a note=1 | annotated
annotate configmap a note=2 |! --overwrite is false but found the following declared annotation(s)
label configmap a tier=front | labeled
label configmap a --list | tier=front
label configmap a tier=back --resource-version=1 --overwrite |! the object has been modified
patch configmap a --type=merge -p {"data":{"m":"1"}} | patched
patch configmap a --type=json -p [{"op":"test","path":"/data/m","value":"2"}] |! the server rejected our request
patch configmap a -p {"data":{"m":1}} |! cannot convert int64 to string
edit configmap a | configmap/a edited
get configmap a -o jsonpath={.data.k} | edited
apply --server-side -f A --field-manager=other |! conflict with "kubectl-edit"
apply --server-side -f A --field-manager=other --force-conflicts | serverside-applied
get configmap a -o yaml --show-managed-fields | manager: other
replace -f A | configmap/a replaced
replace --force -f A | configmap/a replaced
apply -k KUSTOMIZE | configmap/kz-a created
delete -k KUSTOMIZE | configmap "kz-a" deleted
get configmaps -l set=x,tier!=back --field-selector=metadata.name=a -o name | configmap/a
get configmap nothere |! configmaps "nothere" not found
get pods --field-selector=spec.bogus=1 |! field label not supported: spec.bogus
taint node n1 a=b:NoSchedule | tainted
cordon n1 | cordoned
drain n1 --ignore-daemonsets --force --timeout=20s | drained
get node n1 | SchedulingDisabled
uncordon n1 | uncordoned
certificate approve nothere |! certificatesigningrequests.certificates.k8s.io "nothere" not found
delete configmap a --dry-run=server | (server dry run)
delete configmap,secret --all --wait=false | secret "hidden" deleted
delete namespace team | namespace "team" deleted
delete bogus x |! the server doesn't have a resource type "bogus"
"""
CUSTOM = """
create -f WIDGETS | created
wait crd/widgets.table.example --for=condition=Established --timeout=10s | condition met
apply -f WIDGET | widget.table.example/w created
apply --server-side -f WIDGET --force-conflicts | serverside-applied
get wd | SIZE
scale widget w --replicas=5 | scaled
get all -o name | widget.table.example/w
describe widget w | Color:
patch widget w --type=merge -p {"spec":{"size":"many"}} |! must be of type integer
patch widget w --subresource=status --type=merge -p {"status":{"size":1}} | patched
wait widget/w --for=jsonpath={.status.size}=1 --timeout=5s | condition met
delete widget --all | widget.table.example "w" deleted
delete crd widgets.table.example | deleted
"""


class Typist:
    """Types commands, one after the other."""

    def __init__(self, cluster: HollowCluster, place: Path) -> None:
        self._kubeconfig = cluster.kubeconfig
        self._place = place
        files = {
            "WEB": WEB.replace("REPLICAS", "2").replace("IMAGE", "nginx:1"),
            "WEB2": WEB.replace("REPLICAS", "3").replace("IMAGE", "nginx:1"),
            "A": MAPS.replace("NAME", "a"),
            "B": MAPS.replace("NAME", "b"),
            "RIGHTS": RIGHTS,
            "WIDGETS": WIDGETS,
            "WIDGET": WIDGET,
        }
        for name, text in files.items():
            (place / name).write_text(text)
        (place / "KUSTOMIZE").mkdir()
        (place / "KUSTOMIZE" / "a.yaml").write_text(files["A"])
        (place / "KUSTOMIZE" / "kustomization.yaml").write_text("resources: [a.yaml]\nnamePrefix: kz-\n")
        editor = place / "editor"
        editor.write_text('#!/bin/sh\nsed -i \'s/k: "1"/k: edited/\' "$1"\n')
        editor.chmod(0o755)
        self._env = {**os.environ, "KUBECONFIG": self._kubeconfig, "HOME": str(place), "KUBE_EDITOR": str(editor)}

    async def type(self, table: str) -> None:
        """Type each line of a table. Fails the test at the first that shows something else."""
        for line in table.strip().splitlines():
            words, _, expected = line.partition(" |")
            refused, expected = expected.startswith("!"), expected.lstrip("!").strip()
            process = await asyncio.create_subprocess_exec(
                "kubectl",
                *words.split(" "),
                cwd=self._place,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            async with asyncio.timeout(30):
                output = (await process.communicate())[0].decode()
            assert bool(process.returncode) is refused, f"kubectl {words} ended with {process.returncode}: {output}"
            assert expected in output, f"kubectl {words} says: {output}"


@pytest.mark.parametrize("table", [ABOUT, WORKLOADS, OBJECTS, CUSTOM], ids=["about", "workloads", "objects", "custom"])
async def test_kubectl_commands(cluster: HollowCluster, tmp_path: Path, table: str) -> None:
    cluster.node("n1")
    accounts = cluster.informers.informer(SERVICEACCOUNTS)
    await until(accounts, lambda: accounts.get("default", "default"))
    place = tmp_path / "typist"
    place.mkdir()
    await Typist(cluster, place).type(table)
