"""Volumes of a VMI and the networks it is connected to."""

from __future__ import annotations

from kumo.kubevirt.virt_api.schema.types import ANYTHING as _ANYTHING
from kumo.kubevirt.virt_api.schema.types import (
    BOOLEAN,
    EMPTY,
    INT32,
    QUANTITY,
    STRING,
    Schema,
    atomic,
    items,
    keyed,
    nullable,
    record,
    said,
)

_REFERENCE: Schema = {**record(name={**STRING, "default": ""}), "x-kubernetes-map-type": "atomic"}
_CLAIM = record("claimName", claimName=STRING, hotpluggable=BOOLEAN, readOnly=BOOLEAN)
_CLOUD_INIT = record(
    networkData=STRING,
    networkDataBase64=STRING,
    networkDataSecretRef=_REFERENCE,
    secretRef=said("Secret with the key userdata.", _REFERENCE),
    userData=STRING,
    userDataBase64=STRING,
)
_DOWNWARD_FIELD = record(
    "path",
    fieldRef=record("fieldPath", apiVersion=STRING, fieldPath=STRING),
    mode=INT32,
    path=STRING,
    resourceFieldRef=record("resource", containerName=STRING, divisor=QUANTITY, resource=STRING),
)

VOLUMES = items(
    record(
        "name",
        cloudInitConfigDrive=said("cloud-init data as a ConfigDrive disk.", _CLOUD_INIT),
        cloudInitNoCloud=said("cloud-init data as a NoCloud disk.", _CLOUD_INIT),
        configMap=record(name={**STRING, "default": ""}, optional=BOOLEAN, volumeLabel=STRING),
        containerDisk=said(
            "A disk file in a container image; writes are lost when the instance ends.",
            record("image", image=STRING, imagePullPolicy=STRING, imagePullSecret=STRING, path=STRING),
        ),
        containerPath=record("path", path={**STRING, "maxLength": 4096}, readOnly={**BOOLEAN, "default": True}),
        dataVolume=record("name", hotpluggable=BOOLEAN, name=STRING),
        downwardAPI=record(fields=items(_DOWNWARD_FIELD), volumeLabel=STRING),
        downwardMetrics=EMPTY,
        emptyDisk=said("An empty disk of the given capacity.", record("capacity", capacity=QUANTITY)),
        ephemeral=record(persistentVolumeClaim=record("claimName", claimName=STRING, readOnly=BOOLEAN)),
        hostDisk=record("path type", capacity=QUANTITY, path=STRING, shared=BOOLEAN, type=STRING),
        memoryDump=_CLAIM,
        name=said("Name by which a disk refers to the volume.", STRING),
        persistentVolumeClaim=_CLAIM,
        secret=record(optional=BOOLEAN, secretName=STRING, volumeLabel=STRING),
        serviceAccount=record(serviceAccountName=STRING),
        sysprep=record(configMap=_REFERENCE, secret=_REFERENCE),
    ),
    maxItems=256,
)
UTILITY_VOLUMES = keyed(
    record("claimName name", claimName=STRING, name=STRING, readOnly=BOOLEAN, type=STRING), "name", maxItems=256
)
NETWORKS = items(
    record(
        "name",
        multus=record("networkName", default=BOOLEAN, networkName=STRING),
        name=said("Name by which an interface refers to the network.", STRING),
        pod=record(vmIPv6NetworkCIDR=STRING, vmNetworkCIDR=STRING),
        resourceClaim=record(claimName=STRING, requestName=STRING),
    ),
    maxItems=256,
)
DATA_VOLUME_TEMPLATES = items(
    nullable(
        record(
            "spec",
            apiVersion=STRING,
            kind=STRING,
            metadata=nullable(_ANYTHING),
            spec=_ANYTHING,
            status=nullable(_ANYTHING),
        )
    )
)
_CREDENTIAL_SOURCE = record(secret=record("secretName", secretName=STRING))
ACCESS_CREDENTIALS = {
    **atomic(
        record(
            sshPublicKey=record(
                "propagationMethod source",
                propagationMethod=record(
                    configDrive=EMPTY,
                    noCloud=EMPTY,
                    qemuGuestAgent=record("users", users=items(STRING, **{"x-kubernetes-list-type": "set"})),
                ),
                source=_CREDENTIAL_SOURCE,
            ),
            userPassword=record(
                "propagationMethod source",
                propagationMethod=record(qemuGuestAgent=EMPTY),
                source=_CREDENTIAL_SOURCE,
            ),
        )
    ),
    "maxItems": 256,
}
