#!/usr/bin/env bash
# Puts a photograph, lists it, gets it back and compares: put_and_get.sh PHOTO [URL]
set -euo pipefail
photo=$1 server=${2:-http://127.0.0.1:8080}

location=$(curl -fsS --data-binary "@$photo" -o /dev/null -w '%header{location}' "$server/i")
id=${location##*/}
curl -fsS -G "$server/v1/images" --data-urlencode "filter=name = \"images/$id\"" |
    jq -r '.images[] | "\(.name) \(.mediaType) \(.width)x\(.height), \(.sizeBytes) bytes"'
if curl -fsS "$server/i/$id" | cmp - "$photo"; then same=true; else same=false; fi
echo "same bytes: $same"
curl -fsS -X DELETE "$server/i/$id"
