// Puts a photograph, lists it, gets it back and compares: npx tsx put_and_get.ts PHOTO [URL]
//
// The stubs in gen/ come from `npm run generate`, which needs `buf` on the PATH.

import { readFile } from "node:fs/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ImageService } from "./gen/wirephoto/v1/image_service_pb.js";

const [path, server = "http://127.0.0.1:8080"] = process.argv.slice(2);
if (!path) throw new Error("usage: npx tsx put_and_get.ts PHOTO [URL]");
const images = createClient(ImageService, createGrpcTransport({ baseUrl: server }));

const photo = await readFile(path);
const name = (await images.createImage({ content: photo })).image!.name;
for (const image of (await images.listImages({ filter: `name = "${name}"` })).images) {
  console.log(`${image.name} ${image.mediaType} ${image.width}x${image.height}, ${image.sizeBytes} bytes`);
}
const chunks: Uint8Array[] = [];
for await (const part of images.downloadImage({ name })) {
  if (part.chunk) chunks.push(part.chunk.data);
}
console.log("same bytes:", photo.equals(Buffer.concat(chunks)));
await images.deleteImage({ name });
