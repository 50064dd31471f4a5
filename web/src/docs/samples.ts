// Requests to begin with: a call that works wants more than an empty message.

/** Requests of an RPC, by its name; `id` is an image's. Streams of requests have several. */
export function sample(rpc: string, id: string): unknown[] {
  const name = `images/${id}`;
  switch (rpc) {
    case "CreateImage":
      return [{ imageId: "dot", content: DOT, image: { displayName: "A dot" } }];
    case "UploadImage":
      return [{ spec: { imageId: "dot" } }, { chunk: { data: DOT } }, { writeOffset: "42", finishWrite: true }];
    case "ListImages":
      return [{ pageSize: 10 }];
    case "UpdateImage":
      return [{ image: { name, displayName: "Another name" }, updateMask: "displayName" }];
    case "BatchGetImages":
      return [{ names: [name] }];
    case "DownloadImage":
      return [{ name, readLimit: "1024" }];
    case "DownloadImages":
      return [{ name, readLimit: "1024" }, { name: "images/none" }];
    default:
      return [{ name }];
  }
}

/** What an HTTP body of JSON begins with. */
export function bodySample(rpc: string): unknown {
  if (rpc === "UpdateImage") return { displayName: "Another name" };
  return sample(rpc, "dot")[0];
}

/** A GIF of one pixel, 42 bytes. */
const DOT = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";
