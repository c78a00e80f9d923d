"""A pod's DNS configuration and its /etc/hosts. Pure. Upstream: `pkg/kubelet/network/dns` and `kubelet_pods.go`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kumo.api.objects import Object, namespace_of
from kumo.kubernetes.kubelet.spec import cluster_hostname, host_network

_MAX_SERVERS = 3
_MAX_SEARCHES = 32
_LONGEST_SEARCH = 253
_LONGEST_LINE = 2048


@dataclass(frozen=True, slots=True)
class Dns:
    """What goes into resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> Dns:
    """Read a resolv.conf (resolv.conf(5))."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] == "search":
            searches = tuple(w for w in words[1:] if w != ".")
        elif words[0] == "options":
            options = tuple(words[1:])
    return Dns(tuple(servers), searches, options)


def pod_dns(pod: Object, host: Dns, cluster_servers: Sequence[str], domain: str) -> Dns:
    """The pod's DNS configuration by its dnsPolicy and dnsConfig."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    within = (policy == "ClusterFirst" and not host_network(pod)) or policy == "ClusterFirstWithHostNet"
    if policy == "None":
        result = Dns()
    elif within and cluster_servers:
        namespace = namespace_of(pod)
        own = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
        result = Dns(tuple(cluster_servers), _unique(own + host.searches), ("ndots:5",))
    else:
        result = host
    extra = pod["spec"].get("dnsConfig") or {}
    options = list(result.options)
    for option in extra.get("options") or ():
        name, value = option["name"], option.get("value")
        options = [o for o in options if o.partition(":")[0] != name]
        options.append(f"{name}:{value}" if value is not None else name)
    return replace(
        result,
        servers=_unique(result.servers + tuple(extra.get("nameservers") or ())),
        searches=_unique(result.searches + tuple(extra.get("searches") or ())),
        options=tuple(options),
    )


def within_limits(dns: Dns) -> tuple[Dns, list[str]]:
    """What of it a resolver takes, and what to say of the rest (messages of DNSConfigForming events)."""
    said = []
    servers = dns.servers[:_MAX_SERVERS]
    if servers != dns.servers:
        text = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        said.append(text + " ".join(servers))
    searches = tuple(s for s in dns.searches[:_MAX_SEARCHES] if len(s) <= _LONGEST_SEARCH)
    while len(" ".join(searches)) > _LONGEST_LINE:
        searches = searches[:-1]
    if searches != dns.searches:
        text = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "
        said.append(text + " ".join(searches))
    return replace(dns, servers=servers, searches=searches), said


def _unique(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def host_name(pod: Object, domain: str) -> tuple[str, str]:
    """The pod's host name and, if it has a subdomain, its full name in the cluster (else an empty string)."""
    chosen = pod["spec"].get("hostnameOverride")
    if chosen is not None:
        return str(chosen)[:63].rstrip("-."), ""
    name = cluster_hostname(pod)
    subdomain = pod["spec"].get("subdomain")
    full = f"{name}.{subdomain}.{namespace_of(pod)}.svc.{domain}" if subdomain else ""
    if pod["spec"].get("setHostnameAsFQDN") and full:
        name = full
    return name, full


def hosts_file(pod: Object, ips: Sequence[str], domain: str, host_file: str) -> str:
    """The content of the pod's /etc/hosts; `host_file` is the node's, for pods in its network."""
    if host_network(pod):
        text = "# Kubernetes-managed hosts file (host network).\n" + host_file
    else:
        name, full = host_name(pod, domain)
        text = (
            "# Kubernetes-managed hosts file.\n"
            "127.0.0.1\tlocalhost\n"
            "::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::\tip6-localnet\n"
            "fe00::\tip6-mcastprefix\n"
            "fe00::1\tip6-allnodes\n"
            "fe00::2\tip6-allrouters\n"
        )
        for ip in ips:
            text += f"{ip}\t{full}\t{cluster_hostname(pod)}\n" if full else f"{ip}\t{name}\n"
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        for alias in aliases:
            text += "\t".join([alias["ip"], *(alias.get("hostnames") or ())]) + "\n"
    return text
