#!/usr/bin/env bash
# curl against a running server: bytes on /i and JSON on /v1.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "$0")/lib.sh"

# status CURL-ARGUMENTS...: the status, with the body in $work/body and the headers in $work/headers.
status() { curl -sS -o "$work/body" -D "$work/headers" -w '%{http_code}' "$@"; }
header() { tr -d '\r' <"$work/headers" | sed -n "s/^$1: //Ip" | tail -n 1; }
body() { jq -r "$1" "$work/body"; }

id=curl-$run.jpg
is "PUT of a new image" "$(status -T "$photo" "$url/i/$id")" 201
is "its etag is its digest" "$(header etag)" "\"$(sha256 "$photo")\""
is "PUT again" "$(status -T "$photo" "$url/i/$id" | sed s/204/200/)" 200
is "GET" "$(status "$url/i/$id")" 200
cmp "$work/body" "$photo"
etag=$(header etag)
is "length" "$(header content-length)" "$(stat -c %s "$photo")"
is "nosniff" "$(header x-content-type-options)" nosniff
is "accept-ranges" "$(header accept-ranges)" bytes
is "cache-control" "$(header cache-control)" no-cache
[[ -n $(header x-request-id) ]] || { echo "no request id" >&2; exit 1; }
is "GET with a request id" "$(status -H 'x-request-id: curl-asks' "$url/i/$id")" 200
is "the caller's request id" "$(header x-request-id)" curl-asks
is "HEAD" "$(status -I "$url/i/$id") $(header content-length)" "200 $(stat -c %s "$photo")"

is "If-None-Match" "$(status -H "If-None-Match: $etag" "$url/i/$id")" 304
is "If-None-Match, other" "$(status -H 'If-None-Match: "other"' "$url/i/$id")" 200
is "If-Match, other" "$(status -T "$photo" -H 'If-Match: "other"' "$url/i/$id")" 412
is "If-None-Match: * where there is one" "$(status -T "$photo" -H 'If-None-Match: *' "$url/i/$id")" 412

is "Range" "$(status -r 100-199 "$url/i/$id")" 206
is "Content-Range" "$(header content-range)" "bytes 100-199/$(stat -c %s "$photo")"
cmp "$work/body" <(tail -c +101 "$photo" | head -c 100)
is "suffix Range" "$(status -r -50 "$url/i/$id")" 206
cmp "$work/body" <(tail -c 50 "$photo")
is "Range beyond the end" "$(status -r 99999999999- "$url/i/$id")" 416
is "Content-Range of 416" "$(header content-range)" "bytes */$(stat -c %s "$photo")"
is "two ranges" "$(status -r 0-9,100-109 "$url/i/$id")" 206
has "two ranges" "$(header content-type)" multipart/byteranges

is "a form" "$(status -F "file=@$photo;filename=curl-form-$run.jpg" "$url/i")" 201
location=$(header location)
has "Location" "$location" /i/
is "GET of it" "$(status "$url/i/${location##*/}")" 200
cmp "$work/body" "$photo"
is "DELETE of it" "$(status -X DELETE "$url/i/${location##*/}")" 204

digest=$(openssl dgst -sha256 -binary "$photo" | base64)
is "right Repr-Digest" "$(status -T "$photo" -H "Repr-Digest: sha-256=:$digest:" "$url/i/curl-digest-$run")" 201
is "wrong Repr-Digest" "$(status -T "$photo" -H "Repr-Digest: sha-256=:$(head -c 32 /dev/zero | base64):" \
    "$url/i/curl-wrong-$run")" 400
is "nothing kept" "$(status "$url/i/curl-wrong-$run")" 404
has "a problem document" "$(header content-type)" application/problem+json

is "large PUT" "$(status -T "$large" "$url/i/curl-large-$run")" 201
is "large GET" "$(status "$url/i/curl-large-$run")" 200
cmp "$work/body" "$large"
is "large PUT over HTTP/2" "$(status --http2-prior-knowledge -T "$large" "$url/i/curl-h2-$run")" 201
is "large GET over HTTP/2" "$(status --http2-prior-knowledge "$url/i/curl-h2-$run")" 200
cmp "$work/body" "$large"

echo "no image at all" >"$work/text"
is "not an image" "$(status -T "$work/text" "$url/i/curl-text-$run")" 415
is "a type that lies" "$(status -T "$photo" -H 'Content-Type: image/gif' "$url/i/curl-lie-$run")" 422
is "another type" "$(status -T "$photo" -H 'Content-Type: application/pdf' "$url/i/curl-pdf-$run")" 415
is "bad id" "$(status -T "$photo" --path-as-is "$url/i/-$run")" 400
is "dots" "$(status --path-as-is "$url/i/a..b")" 400
is "no such image" "$(status "$url/i/curl-none-$run")" 404

is "JSON get" "$(status "$url/v1/images/$id")" 200
is "sha256" "$(body .sha256)" "$(sha256 "$photo")"
is "64-bit integers are strings" "$(body '.sizeBytes | type')" string
is "JSON list" "$(status "$url/v1/images?pageSize=1")" 200
is "one image a page" "$(body '.images | length')" 1
is "patch" "$(status -X PATCH -H 'Content-Type: application/json' \
    -d '{"displayName":"By curl","labels":{"team":"press"}}' "$url/v1/images/$id")" 200
is "patched" "$(body .displayName)/$(body .labels.team)" By\ curl/press
is "the bytes' etag stays" "$(status -I "$url/i/$id") $(header etag)" "200 $etag"
is "batchGet" "$(status "$url/v1/images:batchGet?names=images/$id&names=images/curl-large-$run")" 200
is "batchGet in order" "$(body '[.images[].name] | join(" ")')" "images/$id images/curl-large-$run"
is "create inline" "$(base64 -w0 "$photo" | jq -Rc --arg id "curl-json-$run" '{imageId: $id, content: .}' |
    status -H 'Content-Type: application/json' --data-binary @- "$url/v1/images")" 200
is "created" "$(body .name)" "images/curl-json-$run"
is "a name that is taken" "$(base64 -w0 "$photo" | jq -Rc --arg id "curl-json-$run" '{imageId: $id, content: .}' |
    status -H 'Content-Type: application/json' --data-binary @- "$url/v1/images")" 409
is "download as NDJSON" "$(status "$url/v1/images/$id:download")" 200
jq -rj '(.result // .) | .chunk.data // empty | . + "\n"' "$work/body" | while read -r data; do
    base64 -d <<<"$data"
done | cmp - "$photo"

is "unknown field" "$(status -H 'Content-Type: application/json' -d '{"no_such":1}' "$url/v1/images")" 400
has "names it" "$(body .message)" no_such
is "its code" "$(body .code)" 3
is "not there" "$(status "$url/v1/images/curl-none-$run")" 404
is "code of not there" "$(body .code)" 5
is "ErrorInfo" "$(body '[.details[] | select(."@type" | endswith("ErrorInfo")) | .reason] | join(" ")')" NOT_FOUND
is "unknown path" "$(status "$url/v1/nothing")" 404
has "answers JSON" "$(header content-type)" application/json
is "wrong method" "$(status -X PUT "$url/v1/images")" 405
has "Allow" "$(header allow)" GET
is "a page of another origin writes" \
    "$(status -H 'Origin: https://elsewhere.example' -T "$photo" "$url/i/curl-origin-$run")" 403
is "nothing kept of it" "$(status "$url/i/curl-origin-$run")" 404

is "livez" "$(status "$url/livez")" 200
is "readyz" "$(status "$url/readyz")" 200
is "the page" "$(status "$url/")" 200
has "the page" "$(header content-type)" text/html
is "delete" "$(status -X DELETE "$url/v1/images/$id")" 200
is "deleted" "$(status "$url/i/$id")" 404
