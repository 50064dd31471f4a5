# What the shell tests share: checks that say what they found, and ids whose images are deleted at the end.
# shellcheck shell=bash disable=SC2034
: "${WIREPHOTO_URL:?is a running server, such as http://127.0.0.1:8080}"
: "${WIREPHOTO_PHOTO:?is a photograph of at most 4 MiB}"
: "${WIREPHOTO_LARGE:?is an image of about 60 MB}"
url=${WIREPHOTO_URL%/} photo=$WIREPHOTO_PHOTO large=$WIREPHOTO_LARGE
host=${url#http://}
service=wirephoto.v1.ImageService
run=$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
work=$(mktemp -d)
passed=0

finish() {
    local status=$?
    curl -fsS -G "$url/v1/images" --data-urlencode 'pageSize=1000' | jq -r '.images[]?.name' | grep -- "-$run" |
        while read -r name; do curl -fsS -X DELETE "$url/v1/$name" -o /dev/null; done || true
    rm -rf "$work"
    if ((status)); then echo "$0: stopped after $passed checks" >&2; else echo "$0: $passed passed, 0 failed"; fi
    exit "$status"
}
trap finish EXIT

# is WHAT FOUND WANTED
is() {
    [[ $2 == "$3" ]] || {
        printf '%s: %s\n  found  %q\n  wanted %q\n' "$0" "$1" "$2" "$3" >&2
        exit 1
    }
    passed=$((passed + 1))
}

# has WHAT TEXT PART
has() {
    [[ $2 == *"$3"* ]] || {
        printf '%s: %s\n  found %s\n  without %s\n' "$0" "$1" "$2" "$3" >&2
        exit 1
    }
    passed=$((passed + 1))
}

# refused WHAT PART COMMAND...: the command fails, and says PART on stdout or stderr.
refused() {
    local what=$1 part=$2 output
    shift 2
    if output=$("$@" 2>&1); then
        printf '%s: %s: not refused, but answered %s\n' "$0" "$what" "$output" >&2
        exit 1
    fi
    has "$what" "$output" "$part"
}

sha256() { sha256sum "$1" | cut -d' ' -f1; }

# upload_messages ID: those of a client stream, a line each: the spec, the photograph in pieces of 100,000 bytes, the end.
upload_messages() {
    local offset=0 size
    size=$(stat -c %s "$photo")
    jq -nc --arg id "$1" '{spec: {imageId: $id}}'
    while ((offset < size)); do
        tail -c +$((offset + 1)) "$photo" | head -c 100000 | base64 -w0 |
            jq -Rc --arg offset $offset '{writeOffset: $offset, chunk: {data: .}}'
        offset=$((offset + 100000))
    done
    jq -nc --arg offset "$size" '{writeOffset: $offset, finishWrite: true}'
}
