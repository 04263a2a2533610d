#!/usr/bin/env bash
# Holds deploy/ to the program and to what reads it: Kubernetes, systemd, Prometheus.
#
# A step of tests/gate.sh, which gives it EVENKEEL, the built program, CONTROLPLANE, the built
# control plane, and in the PATH kubernetes-validate, promtool and a python3 that knows YAML.
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

kubernetes_takes_the_manifests() {
    if [[ -v KUBEBUILDER_ASSETS ]]; then
        "$KUBEBUILDER_ASSETS/kubectl" kustomize deploy/static-pod >"$work/pod.yaml"
    else
        "$CONTROLPLANE" kubectl kustomize deploy/static-pod >"$work/pod.yaml"
    fi
    kubernetes-validate --strict "$work/pod.yaml" deploy/rbac.yaml
}

# The unit of which systemd-analyze says anything at all is wrong: for an unknown key it exits with 0.
systemd_takes_the_unit() {
    if ! command -v systemd-analyze >/dev/null; then
        echo "deploy: NOT CHECKED by systemd: there is no systemd-analyze" >&2
        return
    fi
    sed "s|^ExecStart=/usr/bin/evenkeel|ExecStart=$EVENKEEL|" deploy/evenkeel.service >"$work/evenkeel.service"
    local said
    said="$(systemd-analyze verify --man=no "$work/evenkeel.service" 2>&1)" || true
    [[ -z "$said" ]] || fail "systemd-analyze verify: $said"
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
numbers_agree
read -ra command <<<"$(unit ExecStart)"
starts "the unit" "${command[@]}"
read -ra command <<<"$(image ENTRYPOINT) $(image CMD)"
starts "the image" "${command[@]}"
read -ra command <<<"$(image ENTRYPOINT) $(yaml "$work/pod.yaml" '" ".join(it["spec"]["containers"][0]["args"])')"
starts "the pod" "${command[@]}"
echo "deploy: the manifests, the unit and the image fit the program"
