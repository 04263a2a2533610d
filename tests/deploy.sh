#!/usr/bin/env bash
# Holds deploy/ to the program and to what reads it: Kubernetes, systemd, BIRD, Python, Prometheus.
#
# A step of tests/gate.sh, which gives it EVENKEEL, the built program, CONTROLPLANE, the built
# control plane, and in the PATH kubernetes-validate, promtool and a python3 that knows YAML. Where
# systemd-analyze or bird is missing, that is said, and with CI=true it is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work="$(mktemp -d)"
running=""
serving=""
trap 'kill -KILL $running $serving 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    echo "deploy: $*" >&2
    exit 1
}

# yaml FILE EXPRESSION: a value of a document, which the expression calls `it`.
yaml() {
    python3 -c 'import sys, yaml; it = yaml.safe_load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}

# unit KEY: the value of a key of the systemd unit.
unit() {
    sed -n "s/^$1=//p" deploy/evenkeel.service
}

# drop_in KEY: the same of what a virtual IP adds to the unit.
drop_in() {
    sed -n "s/^$1=//p" deploy/evenkeel.service.d/vip.conf
}

# image KEY: the words of an instruction of the container file, which are a JSON list.
image() {
    sed -n "s/^$1 //p" deploy/Containerfile | python3 -c 'import json, sys; print(*json.load(sys.stdin))'
}

# get URL: the status of the answer; its body goes to $work/body.
get() {
    python3 - "$1" "$work/body" <<'EOF'
import sys, urllib.error, urllib.request

try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except OSError:
    sys.exit("000")
open(sys.argv[2], "wb").write(answer.read())
print(answer.status)
EOF
}

# has PROGRAM FILE: whether there is the program that a file is checked with.
has() {
    command -v "$1" >/dev/null && return
    [[ "${CI:-}" != true ]] || fail "there is no $1 to check $2 with"
    echo "deploy: NOT CHECKED: $2, since there is no $1" >&2
    return 1
}

kubernetes_takes_the_manifests() {
    local kubectl=("$CONTROLPLANE" kubectl) pod
    [[ ! -v KUBEBUILDER_ASSETS ]] || kubectl=("$KUBEBUILDER_ASSETS/kubectl")
    for pod in pod pod-vip; do
        "${kubectl[@]}" kustomize "deploy/static-$pod" >"$work/$pod.yaml"
    done
    kubernetes-validate --strict "$work/pod.yaml" "$work/pod-vip.yaml" deploy/rbac.yaml
}

# The unit of which systemd-analyze says anything at all is wrong: for an unknown key it exits with 0.
systemd_takes_the_unit() {
    has systemd-analyze deploy/evenkeel.service || return 0
    local file said
    for file in "$work"/{alone,vip}/evenkeel.service; do
        mkdir "${file%/*}"
        sed "s|^ExecStart=/usr/bin/evenkeel|ExecStart=$EVENKEEL|" deploy/evenkeel.service >"$file"
        [[ "$file" != */vip/* ]] || cp -r deploy/evenkeel.service.d "$file.d"
        said="$(systemd-analyze verify --man=no "$file" 2>&1)" || true
        [[ -z "$said" ]] || fail "systemd-analyze verify: $said"
    done
}

# deploy/route/frr.conf is not checked: what would, `vtysh -C`, comes with all of FRR.
bird_takes_the_routes() {
    has bird deploy/route/bird.conf || return 0
    bird -p -c deploy/route/bird.conf || fail "bird does not take deploy/route/bird.conf"
}

# By the oldest Python that they say they need. What they do, crates/evenkeel-vip tests.
python_takes_the_hooks() {
    local hook
    for hook in deploy/hooks/*; do
        [[ "$hook" != *.md ]] || continue
        [[ -x "$hook" ]] || fail "$hook cannot be started"
        python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 8))' \
            "$hook" || fail "$hook is no Python 3.8"
    done
}

# A virtual IP gets two capabilities and nothing else.
rights_agree() {
    local key spec="$work/pod-vip.yaml"
    for key in AmbientCapabilities CapabilityBoundingSet; do
        [[ "$(drop_in "$key")" == "CAP_NET_ADMIN CAP_NET_RAW" ]] || fail "the drop-in has another $key"
        [[ -z "$(unit "$key")" ]] || fail "the unit alone has $key"
    done
    [[ "$(drop_in PrivateUsers)" == no ]] || fail "the drop-in's capabilities would not count on the host"

    local container='it["spec"]["containers"][0]'
    [[ "$(yaml "$spec" "$container['securityContext']")" == \
        "$(yaml "$work/pod.yaml" "{**$container['securityContext'],
            'capabilities': {'add': ['NET_ADMIN', 'NET_RAW'], 'drop': ['ALL']}}")" ]] ||
        fail "the pod with a VIP: $(yaml "$spec" "$container['securityContext']")"
    [[ "$(yaml "$spec" 'it["spec"]["securityContext"]')" == \
        "{'runAsGroup': 0, 'runAsUser': 0, 'seccompProfile': {'type': 'RuntimeDefault'}}" ]] ||
        fail "the pod with a VIP: $(yaml "$spec" 'it["spec"]["securityContext"]')"
    # Two pods of the host's network that name one port exclude each other, and the API server names it.
    [[ "$(yaml "$spec" "'ports' in $container")" == False ]] || fail "the pod with a VIP names a port"
}

# same EXPRESSION: what both pods must have alike.
same() {
    [[ "$(yaml "$work/pod.yaml" "$1")" == "$(yaml "$work/pod-vip.yaml" "$1")" ]] ||
        fail "the pod with a VIP has another $1"
}

# What stands on both sides of an interface and is easily changed on one only.
numbers_agree() {
    "$EVENKEEL" config show --config "$work/defaults.yaml" >"$work/shown.yaml"
    local drain admin
    drain="$(yaml "$work/shown.yaml" 'it["shutdown"]["drainTimeout"].removesuffix("s")')"
    admin="$(yaml "$work/shown.yaml" 'it["admin"]["listen"]')"
    (("$(unit TimeoutStopSec)" > drain)) || fail "the unit's TimeoutStopSec cuts the drain of ${drain}s short"
    (("$(yaml "$work/pod.yaml" 'it["spec"]["terminationGracePeriodSeconds"]')" > drain)) ||
        fail "the pod's terminationGracePeriodSeconds cuts the drain of ${drain}s short"

    local probes probed
    # The pod with a VIP is held to the same numbers by being the same.
    for probed in terminationGracePeriodSeconds hostNetwork priority priorityClassName volumes; do
        same "it['spec']['$probed']"
    done
    for probed in args startupProbe livenessProbe readinessProbe volumeMounts; do
        same "it['spec']['containers'][0]['$probed']"
    done
    local address
    address="$(yaml config/examples/vip-kubeadm.yaml 'it["services"][0]["listen"]["addresses"][0]')"
    grep -q -e "--control-plane-endpoint $address " deploy/README.md ||
        fail "deploy/README.md has another endpoint than $address, of config/examples/vip-kubeadm.yaml"

    probes='it["spec"]["containers"][0][p + "Probe"]["httpGet"] for p in ("startup", "liveness", "readiness")'
    probed="$(yaml "$work/pod.yaml" "{(g['host'] + ':' + str(g['port'])) for g in ($probes)} == {'$admin'}")"
    [[ "$probed" == True ]] || fail "the pod is not probed at $admin, the default of admin.listen"
    probed="$(yaml "$work/pod.yaml" "[g['path'] for g in ($probes)]")"
    [[ "$probed" == "['/livez', '/livez', '/readyz']" ]] || fail "the pod is probed at $probed"

    local code
    [[ "$(unit RestartPreventExitStatus)" == "2 3" && "$(unit SuccessExitStatus)" == 143 ]] ||
        fail "the unit knows other exit codes than this test"
    code=0 && "$EVENKEEL" run --nonsense 2>/dev/null || code=$?
    [[ "$code" == 2 ]] || fail "a wrong command line ends with $code, not 2"
    code=0 && "$EVENKEEL" run --config deploy/rbac.yaml 2>/dev/null || code=$?
    [[ "$code" == 3 ]] || fail "an invalid config ends with $code, not 3"
}

# starts WHAT PROGRAM ARGUMENT...: the command line of a manifest, with our program and a config
# that needs nothing of this machine. It must get ready, show sound metrics, and drain on SIGTERM.
starts() {
    local what="$1" words=("${@:2}") code=0 status=000
    [[ "${words[0]}" == */evenkeel ]] || fail "$what starts ${words[0]}"
    words[0]="$EVENKEEL"
    words=("${words[@]//\/etc\/evenkeel\/evenkeel.yaml/$work/run.yaml}")
    [[ " ${words[*]} " == *"$work/run.yaml"* ]] || fail "$what does not name /etc/evenkeel/evenkeel.yaml"
    "${words[@]}" >"$work/log" 2>&1 &
    running=$!
    for _ in {1..100}; do
        kill -0 "$running" 2>/dev/null || break
        status="$(get "http://$admin/readyz" 2>/dev/null || true)"
        [[ "$status" != 200 ]] || break
        sleep 0.1
    done
    [[ "$status" == 200 ]] || fail "$what: not ready: $(cat "$work/log")"
    [[ "$(get "http://$admin/livez")" == 200 ]] || fail "$what: /livez does not answer"
    [[ "$(get "http://$admin/metrics")" == 200 ]] || fail "$what: /metrics does not answer"
    promtool check metrics <"$work/body"
    kill -TERM "$running"
    wait "$running" || code=$?
    running=""
    [[ "$code" == 0 ]] || fail "$what: ended with $code on SIGTERM: $(cat "$work/log")"
}

# A backend that accepts, and ports that were free just now: for a config of defaults, and for one
# that can run here.
python3 -uc '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*("127.0.0.1:%d" % s.getsockname()[1] for s in sockets))
backend, *others = sockets
for s in others: s.close()
while True: backend.accept()[0].close()' >"$work/addresses" &
serving=$!
disown # its end is no news
until [[ -s "$work/addresses" ]]; do
    kill -0 "$serving" || fail "no backend to test with"
    sleep 0.05
done
read -r backend admin listen <"$work/addresses"
cat >"$work/defaults.yaml" <<EOF
apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
services:
  - name: kube-apiserver
    listen: {addresses: ["$listen"]}
    sources: [{static: {endpoints: ["$backend"]}}]
EOF
{
    cat "$work/defaults.yaml"
    echo "admin: {listen: \"$admin\"}"
} >"$work/run.yaml"

kubernetes_takes_the_manifests
systemd_takes_the_unit
bird_takes_the_routes
python_takes_the_hooks
rights_agree
numbers_agree
read -ra command <<<"$(unit ExecStart)"
starts "the unit" "${command[@]}"
read -ra command <<<"$(image ENTRYPOINT) $(image CMD)"
starts "the image" "${command[@]}"
read -ra command <<<"$(image ENTRYPOINT) $(yaml "$work/pod.yaml" '" ".join(it["spec"]["containers"][0]["args"])')"
starts "the pod" "${command[@]}"
echo "deploy: the manifests, the unit and the image fit the program"
