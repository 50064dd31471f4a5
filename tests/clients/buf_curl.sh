#!/usr/bin/env bash
# buf curl against a running server, on gRPC, gRPC-Web and Connect, with the schema from reflection and from proto/.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "$0")/lib.sh"
proto=$(cd "$(dirname "$0")/../../proto" && pwd)

for protocol in grpc grpcweb connect connect-h2; do
    case $protocol in
        grpc) call() { buf curl --protocol grpc --http2-prior-knowledge "$@"; } ;;
        # Over HTTP/1.1, which reflection's bidirectional stream cannot use: the schema is read from the files.
        grpcweb | connect) call() { buf curl --protocol "$protocol" --schema "$proto" "$@"; } ;;
        connect-h2) call() { buf curl --protocol connect --http2-prior-knowledge "$@"; } ;;
    esac
    id=buf-$protocol-$run
    base64 -w0 "$photo" | jq -Rc --arg id "$id" '{imageId: $id, content: .}' >"$work/create"
    is "$protocol: create" "$(call -d "@$work/create" "$url/$service/CreateImage" | jq -r .image.sha256)" \
        "$(sha256 "$photo")"
    is "$protocol: get" "$(call -d "{\"name\":\"images/$id\"}" "$url/$service/GetImage" |
        jq -r .image.name)" "images/$id"
    is "$protocol: list" "$(call -d "{\"filter\":\"name = \\\"images/$id\\\"\"}" "$url/$service/ListImages" |
        jq -r '.images | length')" 1
    is "$protocol: download" "$(call -d "{\"name\":\"images/$id\"}" "$url/$service/DownloadImage" |
        jq -r '.chunk.data // empty' | while read -r data; do base64 -d <<<"$data"; done | sha256sum | cut -d' ' -f1)" \
        "$(sha256 "$photo")"
    update="{\"image\":{\"name\":\"images/$id\",\"displayName\":\"Anew\"},\"updateMask\":\"displayName\"}"
    is "$protocol: update" "$(call -d "$update" "$url/$service/UpdateImage" | jq -r .image.displayName)" Anew
    is "$protocol: batch" "$(call -d "{\"names\":[\"images/$id\"]}" "$url/$service/BatchGetImages" |
        jq -r '.images | length')" 1
    is "$protocol: upload" "$(upload_messages "$id-stream" | call -d @- "$url/$service/UploadImage" |
        jq -r .image.sha256)" "$(sha256 "$photo")"
    refused "$protocol: not there" not_found call -d '{"name":"images/none"}' "$url/$service/GetImage"
    call -d "{\"name\":\"images/$id\"}" "$url/$service/DeleteImage" >/dev/null
    refused "$protocol: deleted" not_found call -d "{\"name\":\"images/$id\"}" "$url/$service/GetImage"
done
for protocol in grpc grpcweb connect; do
    # buf takes HTTP/2 for streams both ways.
    items=$(jq -nc --arg id "buf-$protocol-$run-stream" '{name: "images/\($id)", readLimit: 10}, {name: "images/none"}' |
        buf curl --protocol "$protocol" --http2-prior-knowledge -d @- "$url/$service/DownloadImages")
    is "$protocol: many over one stream" "$(jq -r '.part.chunk.data // .error.code // empty' <<<"$items" | wc -l)" 2
    services=$(buf curl --protocol "$protocol" --http2-prior-knowledge --list-services "$url")
    is "$protocol: reflection lists" "$(grep -cx "$service" <<<"$services")" 1
done
