#!/usr/bin/env bash
# Builds the image of docker/Dockerfile without a container engine and without pulling anything, and
# runs what is in it: the binary is linked here as the Dockerfile's first stage does, buildah makes
# the image, and its file system becomes the root of a process with the image's user.
#
# Needs Linux, cargo, and root or subordinate user ids; installs buildah where apt-get can.
# Builds with fat LTO, as the Dockerfile does: many minutes where nothing has been built before.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$1"; }
skipped() { printf 'SKIPPED: %s\n' "$1"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }

target="$(rustc --print host-tuple)"
binary="${CARGO_TARGET_DIR:-target}/$target/dist/skep"

if [ "${1:-}" != --built ]; then
  step "a static binary"
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile dist --locked --bin skep --target "$target"
  if ! command -v buildah >/dev/null; then
    step "buildah"
    sudo="$([ "$(id -u)" = 0 ] || echo sudo)"
    { $sudo apt-get update -qq && $sudo apt-get install -y -qq buildah; } >/dev/null \
      || fail "buildah is not there and cannot be installed; install the package \`buildah\`"
  fi
  # Without root: once more inside a user name space, where chroot is allowed.
  [ "$(id -u)" = 0 ] || exec buildah unshare "$0" --built
fi
if readelf --program-headers "$binary" | grep -q INTERP; then
  fail "$binary needs a loader, which scratch does not have"
fi

work="$(mktemp -d)"
skep=
cleanup() {
  [ -z "$skep" ] || kill -KILL "$skep" 2>/dev/null || true
  buildah_ rm --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
export STORAGE_DRIVER=vfs
buildah_() { buildah --root "$work/store" --runroot "$work/run" "$@"; }

step "the image"
# What the first stage leaves behind; it stands in for that stage, whose base cannot be pulled here.
mkdir -p "$work/stage/image"/{etc/ssl/certs,etc/skep,var/lib/skep}
cp "$binary" "$work/stage/image/skep"
ln -s skep "$work/stage/image/xray"
cp /etc/ssl/certs/ca-certificates.crt "$work/stage/image/etc/ssl/certs/"
buildah_ build --quiet --format docker --isolation chroot --build-context "build=$work/stage" \
  --file docker/Dockerfile --tag skep . >/dev/null
skipped "the stage that compiles: its base image is not on this machine"
skipped "docker/app/Dockerfile, docker/four-sdks/Dockerfile: likewise; tests/it/bootcamp.rs runs the applications themselves"

step "what the image says"
config="$(buildah_ inspect --type image skep | tr -d '[:space:]')"
for wanted in '"User":"10001:10001"' '"StopSignal":"SIGTERM"' '"4317/tcp":{}' '"4318/tcp":{}' \
  '"13133/tcp":{}' '"2000/tcp":{}' '"2000/udp":{}' '"Entrypoint":["/skep"]' '"Test":["CMD","/skep","health"]' '"container=oci"'; do
  case "$config" in *"$wanted"*) echo "$wanted" ;; *) fail "$wanted is not in the image's configuration" ;; esac
done

step "what is in it"
container="$(buildah_ from --pull-never skep)"
root="$(buildah_ mount "$container")"
(cd "$root" && find . -type f -exec ls -l {} +)
du -sh "$root" | cut -f1
in_image() { env -i container=oci "$@"; }
enter=("$(command -v chroot)" --userspec=10001:10001 "$root" /skep)

step "commands"
in_image "${enter[@]}" --version
in_image "${enter[@]}" validate --deny-warnings
in_image HONEYCOMB_API_KEY=hcaik_for_a_check "${enter[@]}" validate --deny-warnings
in_image "${enter[@]}" xray --version
in_image "$(command -v chroot)" --userspec=10001:10001 "$root" /xray -t 0.0.0.0:2000 xray --version
if in_image "${enter[@]}" health --url http://127.0.0.1:1/ 2>/dev/null; then
  fail "health finds something healthy on a port that nobody has"
fi
echo "valid, and not healthy before it runs"

step "running on the built-in configuration"
for port in 4317 4318 13133; do
  if (: </dev/tcp/127.0.0.1/$port) 2>/dev/null; then
    skipped "port $port is in use on this machine"
    exit 0
  fi
done
# As an engine does for every container.
cp /etc/hosts "$root/etc/hosts"
(exec env -i container=oci "${enter[@]}" >"$work/log" 2>&1) &
skep=$!
for _ in $(seq 100); do
  in_image "${enter[@]}" health 2>/dev/null && break
  kill -0 "$skep" 2>/dev/null || { cat "$work/log"; fail "it ended"; }
  sleep 0.1
done
in_image "${enter[@]}" health || { cat "$work/log"; fail "it does not become healthy"; }
echo "healthy"
grep -q '0\.0\.0\.0:4318' "$work/log" || { cat "$work/log"; fail "it listens on loopback only"; }
body='{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"from docker/check.sh"}]}]}]}'
exec 3<>/dev/tcp/127.0.0.1/4318
printf 'POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s' "${#body}" "$body" >&3
answer="$(cat <&3)"
exec 3>&-
case "$answer" in "HTTP/1.1 200"*) echo "takes a span" ;; *) fail "the answer to a span: $answer" ;; esac
kill -TERM "$skep"
code=0
wait "$skep" || code=$?
skep=
[ "$code" = 0 ] || { cat "$work/log"; fail "it ended with $code after SIGTERM"; }
grep -q '"\?spans"\?[":=]* *1' "$work/log" || { cat "$work/log"; fail "the span did not arrive"; }
echo "delivers it, and ends with 0 after SIGTERM"

step "done"
