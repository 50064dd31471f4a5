#!/usr/bin/env bash
# grpcurl against a running server: all it knows of the service, it learns by reflection.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "$0")/lib.sh"

call() { grpcurl -plaintext -max-msg-sz 9000000 "$@"; }

has "list" "$(call "$host" list)" "$service"
has "health is listed" "$(call "$host" list)" grpc.health.v1.Health
has "methods" "$(call "$host" list "$service")" "$service.DownloadImages"
has "describe" "$(call "$host" describe "$service.UploadImage")" 'stream .wirephoto.v1.UploadImageRequest'
has "describe a message" "$(call "$host" describe wirephoto.v1.Image)" 'fixed32 crc32c = 8'
has "health" "$(call -d "{\"service\":\"$service\"}" "$host" grpc.health.v1.Health/Check)" SERVING

id=grpcurl-$run
created=$(base64 -w0 "$photo" | jq -Rc --arg id "$id" '{imageId: $id, content: ., image: {displayName: "By grpcurl"}}' |
    call -d @ "$host" "$service/CreateImage")
is "created" "$(jq -r .image.sha256 <<<"$created")" "$(sha256 "$photo")"
is "get" "$(call -d "{\"name\":\"images/$id\"}" "$host" "$service/GetImage" | jq -r .image.displayName)" "By grpcurl"
# Its field masks are no strings.
update="{\"image\":{\"name\":\"images/$id\",\"displayName\":\"Anew\"},\"updateMask\":{\"paths\":[\"display_name\"]}}"
is "update" "$(call -d "$update" "$host" "$service/UpdateImage" | jq -r .image.displayName)" Anew
is "batch" "$(call -d "{\"names\":[\"images/$id\"]}" "$host" "$service/BatchGetImages" | jq -r '.images | length')" 1
is "list" "$(call -d "{\"filter\":\"name = \\\"images/$id\\\"\"}" "$host" "$service/ListImages" |
    jq -r '.images | length')" 1
is "download" "$(call -d "{\"name\":\"images/$id\"}" "$host" "$service/DownloadImage" |
    jq -r '.chunk.data // empty' | while read -r data; do base64 -d <<<"$data"; done | sha256sum | cut -d' ' -f1)" \
    "$(sha256 "$photo")"

upload_messages "$id-stream" >"$work/messages"
is "client stream" "$(call -d @ "$host" "$service/UploadImage" <"$work/messages" | jq -r .image.sha256)" \
    "$(sha256 "$photo")"

items=$(jq -nc --arg id "$id" '{name: "images/\($id)", readLimit: 10}, {name: "images/none"}, {name: "images/\($id)"}' |
    call -d @ "$host" "$service/DownloadImages")
is "many over one stream: the one missing" "$(jq -r 'select(.error) | "\(.index) \(.error.code)"' <<<"$items")" "1 5"
is "many over one stream: the first" "$(jq -r 'select((.index // "0") == "0") | .part.chunk.data // empty' <<<"$items" |
    while read -r data; do base64 -d <<<"$data"; done | wc -c)" 10

refused "not there" 'Code: NotFound' call -d '{"name":"images/none"}' "$host" "$service/GetImage"
refused "details" 'NOT_FOUND' call -d '{"name":"images/none"}' "$host" "$service/GetImage"
stale="{\"name\":\"images/$id\",\"etag\":\"stale\"}"
refused "a stale etag" 'Code: Aborted' call -d "$stale" "$host" "$service/DeleteImage"
call -d "{\"name\":\"images/$id\"}" "$host" "$service/DeleteImage" >/dev/null
refused "deleted" 'Code: NotFound' call -d "{\"name\":\"images/$id\"}" "$host" "$service/GetImage"
