// Puts a photograph, lists it, gets it back and compares. In this folder:
//
// npm install && npm run generate
// npx tsx put_and_get.ts PHOTO [URL]

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ImageService } from "./gen/wirephoto/v1/image_service_pb.js";

const [path, server = "http://127.0.0.1:8080"] = process.argv.slice(2);
if (!path) throw new Error("usage: npx tsx put_and_get.ts PHOTO [URL]");
const images = createClient(ImageService, createGrpcTransport({ baseUrl: server }));
const [sent, back] = [createHash("sha256"), createHash("sha256")];

async function* upload() {
  yield { spec: {} };
  let writeOffset = 0n;
  for await (const data of createReadStream(path, { highWaterMark: 1 << 20 })) {
    sent.update(data);
    yield { writeOffset, chunk: { data } };
    writeOffset += BigInt(data.length);
  }
  yield { writeOffset, finishWrite: true };
}

const name = (await images.uploadImage(upload())).image!.name;
for (const image of (await images.listImages({ filter: `name = "${name}"` })).images) {
  console.log(`${image.name} ${image.mediaType} ${image.width}x${image.height}, ${image.sizeBytes} bytes`);
}
for await (const { chunk } of images.downloadImage({ name })) {
  if (chunk) back.update(chunk.data);
}
console.log("same bytes:", back.digest("hex") === sent.digest("hex"));
await images.deleteImage({ name });
