"""The methods of etcd's services that we call: path, messages, and whether asking twice is the same as asking once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kumo.store.etcd.stubs import etcd_pb2 as pb


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A gRPC method. One that only reads is `repeatable`: an answer that got lost may be asked for again."""

    path: str
    request: Any
    answer: Any
    repeatable: bool = False


RANGE = Method("/etcdserverpb.KV/Range", pb.RangeRequest, pb.RangeResponse, repeatable=True)
PUT = Method("/etcdserverpb.KV/Put", pb.PutRequest, pb.PutResponse)
DELETE = Method("/etcdserverpb.KV/DeleteRange", pb.DeleteRangeRequest, pb.DeleteRangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", pb.TxnRequest, pb.TxnResponse)
COMPACT = Method("/etcdserverpb.KV/Compact", pb.CompactionRequest, pb.CompactionResponse)
GRANT = Method("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantRequest, pb.LeaseGrantResponse)
REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRequest, pb.LeaseRevokeResponse)
TIME_TO_LIVE = Method(
    "/etcdserverpb.Lease/LeaseTimeToLive", pb.LeaseRequest, pb.LeaseTimeToLiveResponse, repeatable=True
)
KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", pb.LeaseRequest, pb.LeaseKeepAliveResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", pb.WatchRequest, pb.WatchResponse)
STATUS = Method("/etcdserverpb.Maintenance/Status", pb.StatusRequest, pb.StatusResponse, repeatable=True)
