#!/bin/bash
# Container runtimes of Debian's packages, each with one container, in a mount and a network namespace of their own: the
# host's bridges, rules, /run/netns and /run/docker stay as they are. As root: lab.sh COMMAND...
# Starts all, runs COMMAND there with $LAB set, takes all down. $LAB/containers has a line for each:
# RUNTIME NAME ID PID, and $LAB/missing the runtimes that did not start.
set -u
here=$(dirname "$(readlink -f "$0")")
[ "${1-}" = --inside ] || exec unshare -m -n --propagation private "$0" --inside "$@"
shift
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
LAB=$(mktemp -d -t check_conntrack-lab.XXXXXX); export LAB; chmod 755 "$LAB"; cd "$LAB" || exit
mkdir -p /run/netns /run/docker /run/containers /run/lxc /var/lib/cni
for place in /run/netns /run/docker /run/containers /run/lxc /var/lib/cni /var/log; do mount -t tmpfs tmpfs $place; done
ip link set lo up
touch containers missing
daemons=()
started() { echo "$*" >> "$LAB/containers"; }
within() { # SECONDS COMMAND: until it succeeds
    for _ in $(seq $(($1 * 10))); do "${@:2}" > /dev/null 2>&1 && return; sleep 0.1; done; return 1; }
attempt() { # RUNTIME CLEANING COMMAND...: three times, on a busy machine a daemon may be too slow; errors to RUNTIME.log
    for _ in 1 2 3; do "${@:3}" 2>> "$LAB/$1.log" && return; eval "$2" >> "$LAB/$1.log" 2>&1; sleep 1; done
    echo "$1" >> missing; }
child_of() { # PID [COMMAND]: its child, as soon as it runs that command
    for _ in $(seq 50); do pgrep -P "$1" ${2:+-x "$2"} && return; sleep 0.1; done; return 1; }
ctr_() { ctr -a containerd.sock "$@"; }
podman_() { podman --storage-driver=vfs --root "$LAB/podman" --runroot "$LAB/podman.run" --tmpdir "$LAB/podman.tmp" "$@"; }
take_down() {
    docker swarm leave -f; docker ps -aq | xargs -r docker rm -f
    as_user podman --storage-driver=vfs rm -t 0 -fa
    kill "$(cat home/run/libpod/tmp/pause.pid)" # holds the user's namespaces
    [ -s pods ] && xargs /usr/bin/python3 "$here/cri.py" "$LAB/containerd.sock" remove < pods
    podman_ pod rm -t 0 -fa; podman_ rm -t 0 -fa
    ctr_ task kill -s KILL web-ctr
    lxc-stop -P "$LAB/lxc" -n web-lxc -k
    runc --root "$LAB/runc" kill web-runc KILL
    sleep 0.3
    ctr_ task rm web-ctr; ctr_ container rm web-ctr; runc --root "$LAB/runc" delete web-runc
    kill "${daemons[@]}"; sleep 2
    find /sys/fs/cgroup -depth -type d -name 'lxc.*web-lxc*' -exec rmdir {} + # also of a run that was killed
    umount -R "$LAB"; rm -rf "$LAB"
}
trap 'take_down > /dev/null 2>&1' EXIT

# --- a root file system of busybox, images of it and of a process that only waits
mkdir -p rootfs/{bin,usr,etc,proc,sys,dev,tmp,root,run,var,www} pause
cp /bin/busybox rootfs/bin/
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -sf busybox "rootfs/bin/$name"; done
echo root:x:0:0::/root:/bin/sh > rootfs/etc/passwd; echo root:x:0: > rootfs/etc/group; echo ID=lab > rootfs/etc/os-release
tar -C rootfs -cf rootfs.tar .
echo '#include <unistd.h>
#include <signal.h>
static void end(int signal) { _exit(0 * signal); }
int main(void) { signal(SIGTERM, end); for (;;) pause(); }' | gcc -static -Os -xc - -o pause/pause
tar -C pause -cf pause.tar .
/usr/bin/python3 "$here/image.py" rootfs.tar docker.io/library/lab:1 /bin/sh lab-image.tar
/usr/bin/python3 "$here/image.py" pause.tar docker.io/library/pause:1 /pause pause-image.tar

# --- containerd with its CRI plugin, docker on it
mkdir cni
cat > cni/10-lab.conflist <<'CONF'
{"cniVersion": "0.4.0", "name": "lab", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.7.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
CONF
cat > containerd.toml <<CONF
version = 2
root = "$LAB/containerd"
state = "$LAB/containerd.state"
[grpc]
  address = "$LAB/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$LAB/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
CONF
containerd -c containerd.toml > containerd.log 2>&1 & daemons+=($!)
within 10 ctr_ version
for space in k8s.io default; do
    for image in lab pause; do ctr_ -n $space images import --snapshotter native $image-image.tar; done
done > import.log 2>&1
dockerd --data-root "$LAB/docker" --exec-root /run/docker --containerd "$LAB/containerd.sock" --iptables=false --ip6tables=false \
    -s vfs -H "unix://$LAB/docker.sock" --pidfile "$LAB/dockerd.pid" --default-ulimit nofile=1024:1024 > dockerd.log 2>&1 &
daemons+=($!)
export DOCKER_HOST=unix://$LAB/docker.sock
within 10 docker version && docker import rootfs.tar lab:1 > /dev/null
docker_run() { # RUNTIME NAME ARGUMENTS...
    local id; id=$(docker run -d --name "$2" "${@:3}") && started "$1" "$2" "$id" "$(docker inspect -f '{{.State.Pid}}' "$id")"; }
attempt docker 'docker rm -f web-docker' docker_run docker web-docker lab:1 httpd -f -h /www
docker swarm init --advertise-addr 127.0.0.1 > swarm.log 2>&1 &&
    docker service create --detach --name shop-front --publish 8089:80 lab:1 httpd -f -h /www >> swarm.log 2>&1
attempt docker-shared 'docker rm -f web-sidecar' \
    docker_run docker-shared web-sidecar --net container:web-docker lab:1 sleep 9999
ctr_run() {
    ctr_ run -d --snapshotter native docker.io/library/lab:1 web-ctr /bin/httpd -f -h /www &&
        started ctr web-ctr - "$(ctr_ task ls | awk '/web-ctr/ {print $2}')"; }
attempt ctr 'ctr_ task rm -f web-ctr; ctr_ container rm web-ctr; ctr_ snapshots --snapshotter native rm web-ctr
    ctr_ images import --snapshotter native lab-image.tar' \
    ctr_run
ready() { /usr/bin/python3 "$here/cri.py" "$LAB/containerd.sock" ready; }
within 10 ready # its CNI configuration is read every 5 s
if /usr/bin/python3 "$here/cri.py" "$LAB/containerd.sock" run web-7d4b9c-x2x5z shop \
    11111111-2222-3333-4444-555555555555 'nginx=httpd -f -h /www' 'envoy=sleep 9998' 'logs=sleep 9997' > cri.out; then
    awk '$1 == "-" {print $2}' cri.out > pods
    while read -r name id; do
        started cri "shop/web-7d4b9c-x2x5z$([ "$name" = - ] || echo "/$name")" "$id" \
            "$(ctr_ -n k8s.io task ls | awk -v id="$id" '$1 == id {print $2}')"
    done < cri.out
else
    echo cri >> missing
fi

# --- podman: a container, and a pod with its first container; crun where cgroup v2 is the only one, else runc
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] && runtime=crun || runtime=runc
cat > containers.conf <<CONF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "$runtime"
cgroup_manager = "cgroupfs"
CONF
export CONTAINERS_CONF=$LAB/containers.conf
podman_ import -q rootfs.tar lab:1 > /dev/null 2>&1
podman_run() { # RUNTIME NAME ARGUMENTS...
    local id; id=$(podman_ run -d --name "$2" "${@:3}" 2>> podman.log) &&
        started "$1" "$2" "$id" "$(podman_ inspect -f '{{.State.Pid}}' "$2")"; }
attempt podman 'podman_ rm -t 0 -f web-podman' podman_run podman web-podman lab:1 httpd -f -h /www
podman_ pod create --name shop > pod.id 2> pod.log
attempt podman-pod 'podman_ rm -t 0 -f shop-web' podman_run podman-pod shop-web --pod shop lab:1 httpd -f -h /www

# --- podman of a user without privileges
mkdir home home/run
sed "\$a lab:x:4711:4711::$LAB/home:/bin/sh" /etc/passwd > passwd; sed '$a lab:x:4711:' /etc/group > group
echo lab:500000:65536 > subid
for name in passwd group subuid subgid; do
    touch /etc/$name; mount --bind "${name/sub[ug]id/subid}" /etc/$name; done
cp rootfs.tar home; chown -R 4711:4711 home
as_user() { (cd "$LAB/home" && exec setpriv --reuid=4711 --regid=4711 --clear-groups env HOME="$LAB/home" \
    XDG_RUNTIME_DIR="$LAB/home/run" "$@"); }
rootless() { as_user podman --storage-driver=vfs "$@"; }
rootless import -q rootfs.tar lab:1 > rootless.log 2>&1
id=$(rootless run -d --name rootless-api --network none lab:1 httpd -f -h /www 2>> rootless.log) &&
    started rootless rootless-api "$id" "$(rootless inspect -f '{{.State.Pid}}' rootless-api)" || echo rootless >> missing

# --- a task of Docker's swarm takes a moment
within 20 sh -c 'docker ps | grep -q shop-front' || echo swarm >> missing

# --- lxc, systemd-nspawn, a bundle for runc, bubblewrap, firejail, unshare
mkdir -p lxc/web-lxc; cp -a rootfs lxc/web-lxc/rootfs
cat > lxc/web-lxc/config <<CONF
lxc.include = /usr/share/lxc/config/common.conf
lxc.uts.name = web-lxc
lxc.rootfs.path = dir:$LAB/lxc/web-lxc/rootfs
lxc.net.0.type = empty
lxc.init.cmd = /bin/httpd -f -h /www
lxc.apparmor.profile = unconfined
CONF
lxc_run() { lxc-start -P "$LAB/lxc" -n web-lxc -d && started lxc web-lxc - "$(lxc-info -P "$LAB/lxc" -n web-lxc -pH)"; }
attempt lxc 'lxc-stop -P "$LAB/lxc" -n web-lxc -k' lxc_run
cp -a rootfs nspawn
systemd-nspawn -q -D "$LAB/nspawn" -M web-nspawn --private-network --register=no --keep-unit /bin/httpd -f -h /www \
    > nspawn.log 2>&1 < /dev/null & daemons+=($!)
pid=$(child_of $! httpd) && started nspawn web-nspawn - "$pid" || echo nspawn >> missing
mkdir bundle
(cd bundle && runc spec && /usr/bin/python3 - "$LAB/rootfs" <<'PYTHON'
import json
import sys
with open('config.json') as file:
    config = json.load(file)
config['process'].update(terminal=False, args=['/bin/sleep', '9996'])
config['process'].pop('rlimits', None)
config['root']['path'] = sys.argv[1]
with open('config.json', 'w') as file:
    json.dump(config, file)
PYTHON
runc --root "$LAB/runc" run -d web-runc < /dev/null > /dev/null 2> ../runc.log) &&
    started runc web-runc - "$(runc --root "$LAB/runc" state web-runc | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')" || echo runc >> missing
bwrap --unshare-net --die-with-parent --bind rootfs / --proc /proc --dev /dev /bin/sleep 9995 & daemons+=($!)
started bwrap - - "$(child_of $!)"
firejail --quiet --noprofile --name=web-firejail --net=none sleep 9994 < /dev/null > firejail.log 2>&1 & daemons+=($!)
# firejail makes no namespace inside of another process namespace
pid=$(child_of $!) && started firejail web-firejail - "$pid" || echo firejail >> missing
unshare -n sleep 9993 & daemons+=($!); started unshare - - $!
"$@"
