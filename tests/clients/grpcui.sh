#!/usr/bin/env bash
# grpcui against a running server: its page lists and describes what reflection tells, and its calls go through.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "$0")/lib.sh"

grpcui -plaintext -bind 127.0.0.1 -port 0 -open-browser=false -max-msg-sz 9000000 "$host" >"$work/grpcui" 2>&1 &
grpcui=$!
trap 'kill $grpcui; finish' EXIT
until grep -q 'available at' "$work/grpcui"; do
    kill -0 $grpcui || { cat "$work/grpcui" >&2; exit 1; }
    sleep 0.1
done
ui=$(grep -o 'http://[^ ]*' "$work/grpcui")
ui=${ui%/}

page=$(curl -fsS -c "$work/cookies" "$ui/")
token=$(awk '$6 == "_grpcui_csrf_token" { print $7 }' "$work/cookies")
has "lists the service" "$page" "$service"
has "lists the health service" "$page" grpc.health.v1.Health

# invoke METHOD: the messages of stdin, as grpcui's form sends them; prints its answer.
invoke() {
    jq -sc '{metadata: [], data: .}' |
        curl -fsS -b "$work/cookies" -H "x-grpcui-csrf-token: $token" -H 'content-type: application/json' \
            --data-binary @- "$ui/invoke/$service.$1"
}
message() { jq -c '.responses[0].message'; }

for method in CreateImage UploadImage GetImage ListImages UpdateImage DeleteImage BatchGetImages DownloadImage \
    DownloadImages; do
    has "describes $method" "$(curl -fsS -b "$work/cookies" "$ui/metadata?method=$service.$method")" '"requestType"'
done

id=grpcui-$run
is "create" "$(base64 -w0 "$photo" | jq -Rc --arg id "$id" '{imageId: $id, content: .}' | invoke CreateImage |
    message | jq -r .image.sha256)" "$(sha256 "$photo")"
is "get" "$(invoke GetImage <<<"{\"name\":\"images/$id\"}" | message | jq -r .image.name)" "images/$id"
is "list" "$(invoke ListImages <<<"{\"filter\":\"name = \\\"images/$id\\\"\"}" | message | jq '.images | length')" 1
is "batch" "$(invoke BatchGetImages <<<"{\"names\":[\"images/$id\"]}" | message | jq '.images | length')" 1
update="{\"image\":{\"name\":\"images/$id\",\"displayName\":\"Anew\"},\"updateMask\":\"displayName\"}"
is "update" "$(invoke UpdateImage <<<"$update" | message | jq -r .image.displayName)" Anew
is "download" "$(invoke DownloadImage <<<"{\"name\":\"images/$id\"}" | jq -r '.responses[].message.chunk.data // empty' |
    while read -r data; do base64 -d <<<"$data"; done | sha256sum | cut -d' ' -f1)" "$(sha256 "$photo")"
is "upload" "$(upload_messages "$id-stream" | invoke UploadImage | message | jq -r .image.sha256)" "$(sha256 "$photo")"
is "many over one stream" "$(jq -nc --arg id "$id" '{name: "images/\($id)", readLimit: 10}, {name: "images/none"}' |
    invoke DownloadImages | jq '.responses | length')" 2
is "not there" "$(invoke GetImage <<<'{"name":"images/none"}' | jq -r .error.name)" NotFound
is "delete" "$(invoke DeleteImage <<<"{\"name\":\"images/$id\"}" | message)" '{}'
is "deleted" "$(invoke GetImage <<<"{\"name\":\"images/$id\"}" | jq -r .error.name)" NotFound
