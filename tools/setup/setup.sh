#!/usr/bin/env bash
# `make setup`: from a bare Debian machine to `.venv/bin/kumo`. Every step is skipped when its result is there and what
# it was made from has not changed (`.cache/setup` remembers), so that a second run takes a moment.
set -euo pipefail
cd "$(dirname "$0")/../.."
stamps=.cache/setup
mkdir -p "$stamps" .clients/bin
export PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "not root and no sudo here: run 'make setup' as root"; fi
}

# fingerprint NAME FILE...: true if the step NAME was done with exactly these files
fingerprint() {
    name=$1
    shift
    new=$({ printf '%s\n' "$PWD" "$@"; cat "$@"; } | sha256sum)
    [ "$(cat "$stamps/$name" 2>/dev/null)" = "$new" ]
}
done_with() { printf '%s\n' "$new" > "$stamps/$1"; }

packages() {
    command -v apt-get >/dev/null || die "this needs Debian 12 or newer (apt-get is missing)"
    mapfile -t wanted < <(grep -v '^#' tools/setup/packages.txt)
    mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort) \
        <(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^ii  *//p' | sort -u))
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    if ! as_root apt-get install -y -q --no-install-recommends "${missing[@]}" >"$stamps/apt.log" 2>&1; then
        # lists may be missing or older than the mirror
        as_root apt-get update -q >>"$stamps/apt.log" 2>&1 || true
        as_root apt-get install -y -q --no-install-recommends "${missing[@]}" >>"$stamps/apt.log" 2>&1 \
            || { tail -n 20 "$stamps/apt.log" >&2; die "apt-get could not install the packages (all of it: $stamps/apt.log)"; }
    fi
    # a daemon that the distribution starts would be a second one beside kumo's own
    if [ -d /run/systemd/system ]; then
        for unit in containerd libvirtd etcd; do
            case " ${missing[*]} " in *" $unit"* | *" libvirt-daemon "*)
                as_root systemctl disable --now "$unit" >/dev/null 2>&1 || true ;;
            esac
        done
    fi
}

# venv NAME DIRECTORY REQUIREMENTS [option]...: a virtual environment with exactly these requirements
venv() {
    name=$1 directory=$2 requirements=$3
    shift 3
    if [ -x "$directory/bin/python" ] && fingerprint "$name" "$requirements" /usr/bin/python3; then return; fi
    say "making $directory"
    fingerprint "$name" "$requirements" /usr/bin/python3 || true
    [ -x "$directory/bin/python" ] || /usr/bin/python3 -m venv "$@" "$directory"
    "$directory/bin/python" -m pip install -q --require-hashes -r "$requirements" \
        || die "pip could not install $requirements"
    done_with "$name"
}

install_kumo() {
    if [ -x .venv/bin/kumo ] && fingerprint kumo pyproject.toml "$stamps/python"; then return; fi
    say "installing kumo itself, editable"
    fingerprint kumo pyproject.toml "$stamps/python" || true
    .venv/bin/python -m pip install -q --no-deps -e . || die "pip could not install kumo"
    done_with kumo
}

# made NAME RESULT SCRIPT INPUT...: run a generator unless its result is there, made from the same inputs
made() {
    name=$1 result=$2 script=$3
    shift 3
    if [ -e "$result" ] && fingerprint "$name" "$script" "$@"; then return; fi
    say "$script"
    fingerprint "$name" "$script" "$@" || true
    .venv/bin/python "$script" >/dev/null || die "$script failed"
    done_with "$name"
}

packages
venv python .venv requirements/dev.txt --system-site-packages
install_kumo
made stubs src/kumo/kubernetes/kubelet/devices/stubs/__init__.py tools/generate_stubs.py src/kumo/host/containerd/proto/*.proto \
    src/kumo/host/csi/proto/*.proto src/kumo/kubernetes/kubelet/{claims,devices}/proto/*.proto src/kumo/store/etcd/proto/*.proto requirements/dev.txt
made schema src/kumo/api/data/schema.bin tools/generate_schema.py requirements/dev.txt
made protobuf src/kumo/kubernetes/apiserver/protobuf/fields.txt tools/generate_protobuf.py requirements/dev.txt
made native src/kumo/host/native/bin/cni tools/build_native.py src/kumo/host/native/*.c
venv openstack .clients/openstack requirements/openstack.txt
venv kubernetes .clients/kubernetes requirements/kubernetes-clients.txt
[ -x .clients/bin/openstack ] || ln -sf ../openstack/bin/openstack .clients/bin/openstack
if [ ! -x .clients/bin/kubectl ] && ! [ -e "$stamps/kubectl" -a -x "$(cat "$stamps/kubectl" 2>/dev/null)" ]; then
    .venv/bin/python tools/setup/kubectl.py .clients/bin/kubectl "$stamps/kubectl" || die "no kubectl"
fi
# Also where the environment says that Python writes no bytecode: compiling all that it imports is half of a cloud's start.
.venv/bin/python -m compileall -q src || die "src does not compile"
say "ready: .venv/bin/kumo"
