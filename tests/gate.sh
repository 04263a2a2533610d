#!/usr/bin/env bash
# The one gate, for people and for CI: what does not pass it does not land.
#
#   tests/gate.sh            every step, in the order of `steps` below; ends at the first that fails
#   tests/gate.sh STEP...    only these
#
# It needs Rust (rustup), Go, Python 3.11 with pip, and installs what else is missing: cargo's tools
# into cargo's bin folder, Python's into ~/.cache/evenkeel/tools, and, only where a command is
# missing, Debian packages as root. Tests that need root are skipped without it, and fail if
# CI=true.
#
# All steps build with the same flags and features, so that nothing is compiled twice. That is why
# none says `-p`, why RUSTFLAGS is left alone, and why `docs` names its targets.
set -euo pipefail
exec </dev/null
cd "$(dirname "${BASH_SOURCE[0]}")/.."

steps=(format tools words licences lint docs build controlplane tests deploy)

# What is installed, where it is missing. Python's are pinned: what a newer one finds belongs into a
# commit of its own. moto with Flask is AWS for the tests of deploy/hooks; what it needs for other
# services than ours, its extra `server`, is left out.
nextest_version=0.9.151
deny_version=0.20.2
python_tools=(typos==1.52.0 kubernetes-validate==1.37.0 moto==5.2.5 flask==3.1.3 flask-cors==6.0.5)

export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/evenkeel/tools"
venv="$cache/python-$(printf '%s\n' "${python_tools[@]}" | sha256sum | cut -c1-12)"
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$venv/bin:$cache/bin:$PATH:/usr/local/go/bin:/usr/sbin:/sbin"

# The steps

format() {
    cargo fmt --all --check
    local unformatted
    unformatted="$(gofmt -l tests/controlplane)"
    [[ -z "$unformatted" ]] || fail "gofmt would change $unformatted"
}

tools() {
    debian ip iproute2
    debian nft nftables
    debian keepalived keepalived
    debian bird bird2
    debian setpriv util-linux
    debian cc "gcc libc6-dev"
    mkdir -p "$cache"
    # Two gates at once must not install into each other.
    exec 9>"$cache/lock"
    flock 9
    install_python_tools
    install_promtool
    exec 9>&-
}

words() {
    typos
}

licences() {
    cargo_tool cargo-deny "$deny_version"
    cargo deny --locked --workspace check bans licenses sources
}

lint() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
}

docs() {
    # `--examples`, of which there are none, is what makes cargo take dependencies as `lint` does.
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked \
        --lib --bins --examples
}

build() {
    cargo_tool cargo-nextest "$nextest_version" --no-default-features --features default-no-update
    cargo nextest run --workspace --locked --no-run
}

# Outside of any test's timeout: the first build of Kubernetes takes minutes, later ones none.
controlplane() {
    "$(target)/debug/build-controlplane"
}

tests() {
    local log status=0
    log="$(target)/nextest.log"
    cargo nextest run --workspace --locked --profile ci 2>&1 | tee "$log" || status=$?
    counts="$(count "$log")"
    return "$status"
}

deploy() {
    EVENKEEL="$(target)/debug/evenkeel" CONTROLPLANE="$("$(target)/debug/build-controlplane")" \
        tests/deploy.sh
}

# What the steps are made of

# debian COMMAND PACKAGES: installs the packages if there is no such command.
debian() {
    command -v "$1" >/dev/null && return
    [[ "$(id -u)" == 0 ]] || fail "there is no \`$1\`: install $2"
    command -v apt-get >/dev/null || fail "there is no \`$1\` and no apt-get: install Debian's $2, or its like"
    package_lists
    # shellcheck disable=SC2086 # several packages
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $2 >/dev/null
}

package_lists() {
    [[ "$(id -u)" != 0 || -v package_lists_are_new ]] || apt-get update -qq
    package_lists_are_new=yes
}

install_python_tools() {
    [[ -e "$venv/complete" ]] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || debian "a module venv of python3" python3-venv
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${python_tools[@]}"
    touch "$venv/complete"
}

# Out of its package, which is not installed: where there is systemd, that would start a Prometheus.
install_promtool() {
    command -v promtool >/dev/null && return
    command -v apt-get >/dev/null || fail "there is no \`promtool\`: put it into the PATH"
    package_lists
    local folder
    folder="$(mktemp -d)"
    (
        cd "$folder"
        apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null
        dpkg-deb --extract prometheus_*.deb .
    )
    install -D "$folder/usr/bin/promtool" "$cache/bin/promtool"
    rm -rf "$folder"
}

# cargo_tool NAME VERSION [FLAG...]: installs a tool of cargo's if it is missing. Unoptimised,
# without debug information: that takes a third of the time, and the tool only waits for others.
cargo_tool() {
    command -v "$1" >/dev/null && return
    CARGO_PROFILE_DEV_DEBUG=none cargo install "$1" --version "$2" --locked --debug "${@:3}"
}

target() {
    cargo metadata --no-deps --offline --format-version 1 |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# count LOG: what the last summary of nextest says, as `N passed, N failed, N skipped`.
count() {
    python3 - "$1" <<'EOF'
import re, sys

text = re.sub(r"\x1b\[[0-9;]*m", "", open(sys.argv[1], errors="replace").read())
summaries = re.findall(r"^\s*Summary \[.*?\] .*? run: (.*)$", text, re.MULTILINE)
number = lambda *words: sum(
    int(n) for word in words for n in re.findall(rf"(\d+) {word}\b", summaries[-1])
)
if summaries:
    failed = number("failed", "timed out", "exec failed")
    print(f"{number('passed')} passed, {failed} failed, {number('skipped')} skipped")
EOF
}

fail() {
    echo "gate: $*" >&2
    exit 1
}

# Running them

counts=""
current=""
times=""

step() {
    current="$1"
    printf '\n==> %s\n' "$current"
    local begun=$SECONDS
    "$current"
    times+="$(printf '%6ds  %s' $((SECONDS - begun)) "$current")"$'\n'
    current=""
}

finish() {
    local status=$?
    printf '\n%s%6ds  in all\n' "$times" "$SECONDS"
    [[ -z "$current" ]] || echo "gate: failed at \`$current\`, which tests/gate.sh $current repeats" >&2
    # The last line, for whoever counts.
    [[ -z "$counts" ]] || printf '%s\n' "$counts"
    exit "$status"
}

for name in "${@:-${steps[@]}}"; do
    [[ " ${steps[*]} " == *" $name "* ]] || fail "no step is called \`$name\`; there are ${steps[*]}"
done
trap finish EXIT
for name in "${@:-${steps[@]}}"; do
    step "$name"
done
